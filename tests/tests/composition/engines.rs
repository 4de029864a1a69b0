//! The engine of a request: a database for each tenant, an extension, and a state that is an `Arc`.

use std::collections::BTreeMap;
use std::future::{Ready, ready};
use std::ops::Deref;
use std::sync::Arc;

use actix_web::test::{TestRequest, init_service};
use actix_web::web::{self, ReqData};
use actix_web::{FromRequest, HttpMessage as _, HttpRequest, error};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, FromRef, FromRequestParts, State};
use axum::http::request::{Builder, Parts};
use axum::http::{Request, StatusCode};
use axum::routing::post;
use idem_core::{Engine, SqliteStore, drain_all};
use sqlx::SqliteConnection;
use tower::ServiceExt as _;

use crate::actix::service::answer as actix_answer;
use crate::service::{Answer, Database, write};

/// A database for each tenant.
struct Tenants(BTreeMap<&'static str, Engine<SqliteStore>>);

impl Tenants {
    fn of(databases: &[(&'static str, &Database)]) -> Self {
        let engine =
            |(name, database): &(_, &Database)| (*name, Engine::new(database.store.clone()));
        Self(databases.iter().map(engine).collect())
    }

    fn get(&self, header: Option<&[u8]>) -> Option<TenantEngine> {
        let name = std::str::from_utf8(header?).ok()?;
        self.0.get(name).cloned().map(TenantEngine)
    }
}

/// The engine of the tenant who sends a request.
struct TenantEngine(Engine<SqliteStore>);

impl Deref for TenantEngine {
    type Target = Engine<SqliteStore>;

    fn deref(&self) -> &Engine<SqliteStore> {
        &self.0
    }
}

impl FromRequestParts<Arc<Tenants>> for TenantEngine {
    type Rejection = StatusCode;

    async fn from_request_parts(
        parts: &mut Parts,
        tenants: &Arc<Tenants>,
    ) -> Result<Self, StatusCode> {
        let header = parts.headers.get("x-tenant").map(AsRef::as_ref);
        tenants.get(header).ok_or(StatusCode::UNAUTHORIZED)
    }
}

impl FromRequest for TenantEngine {
    type Error = actix_web::Error;
    type Future = Ready<Result<Self, actix_web::Error>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let tenants = request
            .app_data::<web::Data<Tenants>>()
            .expect("the application has it");
        let header = request.headers().get("x-tenant").map(AsRef::as_ref);
        ready(
            tenants
                .get(header)
                .ok_or_else(|| error::ErrorUnauthorized("nobody")),
        )
    }
}

mod on_axum {
    use idem_axum::idempotent;

    use super::{
        Arc, Engine, Extension, Shop, SqliteConnection, SqliteStore, State, TenantEngine, Tenants,
        write,
    };

    #[idempotent(ttl = "1h", unscoped, store = extractor(TenantEngine), state = Arc<Tenants>)]
    pub(super) async fn of_tenant(tx: &mut SqliteConnection, item: String) -> String {
        write(tx, &item).await.expect("a row");
        item
    }

    #[idempotent(ttl = "1h", unscoped, store = extractor(Extension<Engine<SqliteStore>>))]
    pub(super) async fn in_extension(tx: &mut SqliteConnection, item: String) -> String {
        write(tx, &item).await.expect("a row");
        item
    }

    #[idempotent(ttl = "1h", unscoped, state = Arc<Shop>)]
    pub(super) async fn in_arc(
        tx: &mut SqliteConnection,
        State(shop): State<Arc<Shop>>,
        item: String,
    ) -> String {
        write(tx, &item).await.expect("a row");
        format!("{item} of {}", shop.name)
    }
}

mod on_actix {
    use idem_actix::idempotent;

    use super::{Engine, ReqData, SqliteConnection, SqliteStore, TenantEngine, write};

    #[idempotent(ttl = "1h", unscoped, store = extractor(TenantEngine))]
    pub(super) async fn of_tenant(tx: &mut SqliteConnection, item: String) -> String {
        write(tx, &item).await.expect("a row");
        item
    }

    #[idempotent(ttl = "1h", unscoped, store = extractor(ReqData<Engine<SqliteStore>>))]
    pub(super) async fn in_extension(tx: &mut SqliteConnection, item: String) -> String {
        write(tx, &item).await.expect("a row");
        item
    }
}

/// A state that is not cloned, behind an `Arc`.
#[derive(FromRef, Clone)]
struct Shop {
    engine: Engine<SqliteStore>,
    name: &'static str,
}

async fn post_on_axum(router: &Router, request: Builder, key: &str) -> Answer {
    let request = request
        .method("POST")
        .header("idempotency-key", key)
        .body(Body::from("tea"))
        .expect("a request");
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.expect("a body");
    Answer {
        status: parts.status,
        replayed: parts.headers.contains_key("idempotency-replayed"),
        text: String::from_utf8(body.into()).expect("text"),
    }
}

/// Each tenant's keys and rows are in its own database, and nobody else's requests run.
async fn each_has_its_own(
    databases: [&Database; 2],
    send: impl AsyncFn(Option<&str>, &str) -> Answer,
) {
    for tenant in ["acme", "globex"] {
        let first = send(Some(tenant), "k").await;
        first.ran("tea");
        send(Some(tenant), "k").await.replays(&first);
    }
    for tenant in [Some("nobody"), None] {
        assert_eq!(send(tenant, "k").await.status, StatusCode::UNAUTHORIZED);
    }
    // The engine says which header has the key, so it is found first.
    assert_eq!(send(None, "k k").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        send(Some("acme"), "k k").await.status,
        StatusCode::BAD_REQUEST
    );
    for database in databases {
        assert_eq!(database.effects().await, ["tea"]);
    }
}

#[tokio::test]
async fn s6_each_tenant_has_a_database_on_axum() {
    let (acme, globex) = (Database::create().await, Database::create().await);
    let tenants = Arc::new(Tenants::of(&[("acme", &acme), ("globex", &globex)]));
    let router = Router::new()
        .route("/", post(on_axum::of_tenant))
        .with_state(Arc::clone(&tenants));
    each_has_its_own([&acme, &globex], async |tenant, key| {
        let request = Request::post("/");
        let request = match tenant {
            Some(tenant) => request.header("x-tenant", tenant),
            None => request,
        };
        post_on_axum(&router, request, key).await
    })
    .await;
    drain_all(&[&tenants.0["acme"], &tenants.0["globex"]]).await;
}

#[actix_web::test]
async fn s6_each_tenant_has_a_database_on_actix() {
    let (acme, globex) = (Database::create().await, Database::create().await);
    let tenants = web::Data::new(Tenants::of(&[("acme", &acme), ("globex", &globex)]));
    let app = actix_web::App::new()
        .app_data(tenants.clone())
        .route("/", web::post().to(on_actix::of_tenant));
    let app = init_service(app).await;
    each_has_its_own([&acme, &globex], async |tenant, key| {
        let request = TestRequest::post().uri("/").set_payload("tea");
        let request = request.insert_header(("idempotency-key", key));
        let request = match tenant {
            Some(tenant) => request.insert_header(("x-tenant", tenant)),
            None => request,
        };
        let response = actix_web::dev::Service::call(&app, request.to_request()).await;
        actix_answer(response.expect("a response")).await
    })
    .await;
}

#[tokio::test]
async fn the_engine_is_an_extension_or_in_an_arc_on_axum() {
    let database = Database::create().await;
    let engine = Engine::new(database.store.clone());
    let router = Router::new()
        .route("/", post(on_axum::in_extension))
        .layer(Extension(engine.clone()));
    let first = post_on_axum(&router, Request::post("/"), "k").await;
    first.ran("tea");
    post_on_axum(&router, Request::post("/"), "k")
        .await
        .replays(&first);

    let shop = Arc::new(Shop {
        engine,
        name: "Ann",
    });
    let router = Router::new()
        .route("/arc", post(on_axum::in_arc))
        .with_state(shop);
    let first = post_on_axum(&router, Request::post("/arc"), "k").await;
    first.ran("tea of Ann");
    post_on_axum(&router, Request::post("/arc"), "k")
        .await
        .replays(&first);
    assert_eq!(database.effects().await, ["tea", "tea"]);
}

#[actix_web::test]
async fn the_engine_is_an_extension_on_actix() {
    let database = Database::create().await;
    let engine = Engine::new(database.store.clone());
    let app = actix_web::App::new().route("/", web::post().to(on_actix::in_extension));
    let app = init_service(app).await;
    let send = async || {
        let request = TestRequest::post().uri("/").set_payload("tea");
        let request = request.insert_header(("idempotency-key", "k")).to_request();
        request.extensions_mut().insert(engine.clone());
        let response = actix_web::dev::Service::call(&app, request).await;
        actix_answer(response.expect("a response")).await
    };
    let first = send().await;
    first.ran("tea");
    send().await.replays(&first);
    assert_eq!(database.effects().await, ["tea"]);
}
