//! A hook in the transaction before the handler: row level security that a handler can't forget.

use actix_web::dev::Service as _;
use actix_web::test::{TestRequest, init_service, read_body};
use actix_web::{App as Application, HttpMessage as _, web};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use axum::routing::post;
use idem_core::store::BoxError;
use idem_core::{Attempt, Engine, PostgresStore};
use idem_tests::{Axum, Database as _, Postgres, Wires, World};
use sqlx::{PgConnection, PgPool};
use tower::ServiceExt as _;

use crate::service::Tenant;

type World_ = World<Axum, Postgres>;

/// Each tenant sees and writes its own orders; the role of the application does not own the table.
const SETUP: &str = "
    CREATE TABLE orders (tenant TEXT NOT NULL, item TEXT NOT NULL, author TEXT NOT NULL);
    ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
    ALTER TABLE orders FORCE ROW LEVEL SECURITY;
    CREATE POLICY own ON orders USING (tenant = current_setting('app.tenant', true));
    GRANT SELECT, INSERT ON orders TO pg_signal_backend;
    GRANT USAGE ON SCHEMA idem TO pg_signal_backend;
    GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA idem TO pg_signal_backend";

/// A built-in role of the server, so that the test leaves no role in the cluster.
async fn pool(world: &World_) -> PgPool {
    let owner = PostgresStore::new(world.database.connect(Wires::default()).await);
    owner.migrate().await.expect("migrates");
    world.run(SETUP).await;
    let wires = Wires {
        session: |options| options.options([("role", "pg_signal_backend")]),
        ..Wires::default()
    };
    world.database.connect(wires).await
}

async fn set(tx: &mut PgConnection, tenant: String, author: String) -> Result<(), BoxError> {
    let set = "SELECT set_config('app.tenant', $1, true), set_config('app.author', $2, true)";
    sqlx::query(set)
        .bind(tenant)
        .bind(author)
        .execute(tx)
        .await?;
    Ok(())
}

/// The number of orders that the tenant sees, with the new one.
async fn order(tx: &mut PgConnection, tenant: &str, item: &str) -> Result<String, sqlx::Error> {
    let insert = "INSERT INTO orders VALUES ($1, $2, current_setting('app.author'))";
    sqlx::query(insert)
        .bind(tenant)
        .bind(item)
        .execute(&mut *tx)
        .await?;
    let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM orders")
        .fetch_one(tx)
        .await?;
    Ok(seen.to_string())
}

mod on_axum {
    use axum::http::StatusCode;
    use idem_axum::idempotent;

    use super::{Engine, PgConnection, PostgresStore, Tenant, order};

    #[idempotent(ttl = "1h", scope = "tenant.name", state = Engine<PostgresStore>)]
    pub(super) async fn create(tx: &mut PgConnection, tenant: Tenant, item: String) -> String {
        let seen = order(tx, &tenant.name, &item).await;
        seen.unwrap_or_else(|error| error.to_string())
    }

    /// Names a tenant that isn't the client's.
    #[idempotent(ttl = "1h", scope = "tenant.name", state = Engine<PostgresStore>)]
    pub(super) async fn forge(
        tx: &mut PgConnection,
        tenant: Tenant,
        item: String,
    ) -> Result<String, (StatusCode, String)> {
        let seen = order(tx, "globex", &item).await;
        seen.map_err(|error| (StatusCode::FORBIDDEN, error.to_string()))
    }
}

#[tokio::test]
async fn h2_row_level_security_holds_for_every_handler_on_axum() {
    let world = World_::create().await;
    let pool = pool(&world).await;
    let engine = Engine::new(PostgresStore::new(pool.clone()));
    let engine = idem_axum::before_handler(engine, |tx, attempt, extensions| {
        let tenant = attempt.scope().unwrap_or_default().to_owned();
        let author = extensions.get::<Author>().map(|author| author.0);
        let author = author.unwrap_or("nobody").to_owned();
        Box::pin(set(tx, tenant, author))
    });
    let router = Router::new()
        .route("/orders", post(on_axum::create))
        .route("/forge", post(on_axum::forge))
        .with_state(engine);
    let send = async |tenant: &str, path: &str, key: &str| {
        let request = Request::post(path)
            .header("idempotency-key", key)
            .header(CONTENT_TYPE, "text/plain")
            .extension(Tenant::new(tenant))
            .extension(Author("ann"))
            .body(Body::from("tea"))
            .expect("a request");
        let response = router.clone().oneshot(request).await.expect("infallible");
        let body = to_bytes(response.into_body(), usize::MAX)
            .await
            .expect("a body");
        String::from_utf8(body.into()).expect("text")
    };
    holds(&world, send).await;
    pool.close().await;
    world.end(true).await;
}

mod on_actix {
    use actix_web::Error;
    use actix_web::error::ErrorForbidden;
    use actix_web::web::ReqData;
    use idem_actix::idempotent;

    use super::{PgConnection, Tenant, order};

    #[idempotent(ttl = "1h", scope = "tenant")]
    pub(super) async fn create(
        tx: &mut PgConnection,
        tenant: ReqData<Tenant>,
        item: String,
    ) -> String {
        let seen = order(tx, &tenant.name, &item).await;
        seen.unwrap_or_else(|error| error.to_string())
    }

    /// Names a tenant that isn't the client's.
    #[idempotent(ttl = "1h", scope = "tenant")]
    pub(super) async fn forge(
        tx: &mut PgConnection,
        tenant: ReqData<Tenant>,
        item: String,
    ) -> Result<String, Error> {
        order(tx, "globex", &item).await.map_err(ErrorForbidden)
    }
}

#[actix_web::test]
async fn h2_row_level_security_holds_for_every_handler_on_actix() {
    let world = World_::create().await;
    let pool = pool(&world).await;
    let engine = Engine::new(PostgresStore::new(pool.clone()));
    let engine = idem_actix::before_handler(engine, |tx, attempt, request| {
        let tenant = attempt.scope().unwrap_or_default().to_owned();
        let author = request.extensions().get::<Author>().map(|author| author.0);
        let author = author.unwrap_or("nobody").to_owned();
        Box::pin(set(tx, tenant, author))
    });
    let app = Application::new()
        .configure(idem_actix::engine(engine))
        .route("/orders", web::post().to(on_actix::create))
        .route("/forge", web::post().to(on_actix::forge));
    let app = init_service(app).await;
    let send = async |tenant: &str, path: &str, key: &str| {
        let request = TestRequest::post().uri(path).set_payload("tea");
        let request = request.insert_header(("idempotency-key", key));
        let request = request
            .insert_header(("content-type", "text/plain"))
            .to_request();
        request.extensions_mut().insert(Tenant::new(tenant));
        request.extensions_mut().insert(Author("ann"));
        let body = read_body(app.call(request).await.expect("a response")).await;
        String::from_utf8(body.into()).expect("text")
    };
    holds(&world, send).await;
    pool.close().await;
    world.end(true).await;
}

/// A hook that fails keeps the handler out, and the key may run again.
#[tokio::test]
async fn h2_a_hook_that_fails_undoes_the_attempt() {
    let world = World_::create().await;
    let pool = pool(&world).await;
    let engine = Engine::new(PostgresStore::new(pool.clone()));
    let engine = idem_axum::before_handler(engine, |tx, attempt: &Attempt, _| {
        let tenant = attempt.scope().unwrap_or_default().to_owned();
        let is_first = attempt.number() == 1;
        Box::pin(async move {
            set(tx, tenant, "ann".to_owned()).await?;
            order(tx, "acme", "tea").await?;
            if is_first {
                Err("no tenant today".into())
            } else {
                Ok(())
            }
        })
    });
    let router = Router::new()
        .route("/orders", post(on_axum::create))
        .with_state(engine);
    for (status, orders) in [(503, 0), (200, 2), (200, 2)] {
        let request = Request::post("/orders")
            .header("idempotency-key", "k")
            .extension(Tenant::new("acme"))
            .body(Body::from("tea"))
            .expect("a request");
        let response = router.clone().oneshot(request).await.expect("infallible");
        assert_eq!(response.status(), status);
        assert_eq!(world.number("SELECT count(*) FROM orders").await, orders);
    }
    pool.close().await;
    world.end(true).await;
}

/// An extension of the request.
#[derive(Clone)]
struct Author(&'static str);

/// The tenants see their own orders alone.
async fn holds(world: &World_, send: impl AsyncFn(&str, &str, &str) -> String) {
    assert_eq!(send("acme", "/orders", "k1").await, "1");
    assert_eq!(send("acme", "/orders", "k2").await, "2");
    assert_eq!(send("globex", "/orders", "k1").await, "1");
    assert_eq!(send("acme", "/orders", "k1").await, "1", "a replay");
    let forged = send("acme", "/forge", "k3").await;
    assert!(forged.contains("row-level security"), "{forged}");
    assert_eq!(world.number("SELECT count(*) FROM orders").await, 3);
    assert_eq!(
        world
            .text("SELECT string_agg(DISTINCT author, ',') FROM orders")
            .await,
        "ann"
    );
}
