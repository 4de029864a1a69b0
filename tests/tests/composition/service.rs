//! An application with three databases, and requests to it without a socket.

use std::any::Any;
use std::borrow::Cow;
use std::path::Path;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRef, FromRequestParts};
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use idem_axum::{Engine, PostgresStore, Provider, Scope, SqliteStore};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{PgPool, SqliteConnection, SqlitePool};
use tower::ServiceExt as _;

/// The state of every router: two engines on SQLite, of which one is named, and one on PostgreSQL.
#[derive(Clone, FromRef)]
pub(crate) struct App {
    orders: Engine<SqliteStore>,
    billing: Billing,
    ledger: Engine<PostgresStore>,
}

#[derive(Clone)]
pub(crate) struct Billing(Engine<SqliteStore>);

impl Provider for Billing {
    type Store = SqliteStore;

    fn engine(&self) -> &Engine<SqliteStore> {
        &self.0
    }
}

/// Who sends a request: an extension of it.
#[derive(Clone, Debug)]
pub(crate) struct Tenant {
    pub(crate) name: String,
    pub(crate) number: (u8, i64),
}

impl Tenant {
    pub(crate) fn new(name: &str) -> Self {
        let length = name.len().try_into().expect("a short name");
        Self {
            name: name.to_owned(),
            number: (0, length),
        }
    }
}

impl Scope for Tenant {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.name)
    }
}

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let tenant = parts.extensions.get();
        tenant.cloned().ok_or(StatusCode::UNAUTHORIZED)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) item: String,
    #[serde(default)]
    pub(crate) note: String,
}

impl Order {
    /// What makes it another order.
    pub(crate) fn intent(&self) -> (&str, u8) {
        (&self.item, 1)
    }
}

/// Writes what the test looks for.
pub(crate) async fn write(
    connection: &mut SqliteConnection,
    effect: &str,
) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO effects VALUES (?)")
        .bind(effect)
        .execute(connection)
        .await
        .map(|_| ())
}

/// The application, and what is in its databases.
pub(crate) struct Service {
    router: Router,
    pub(crate) orders: Database,
    pub(crate) billing: Database,
}

impl Service {
    pub(crate) async fn start(routes: Router<App>) -> Self {
        Self::with_orders(routes, Database::create().await).await
    }

    /// An application whose orders outlive it, in a file.
    pub(crate) async fn start_on(routes: Router<App>, file: &Path) -> Self {
        Self::with_orders(routes, Database::open(file).await).await
    }

    async fn with_orders(routes: Router<App>, orders: Database) -> Self {
        let billing = Database::create().await;
        let nowhere = PgPool::connect_lazy("postgres://localhost").expect("an address");
        let app = App {
            orders: Engine::new(orders.store.clone()),
            billing: Billing(Engine::new(billing.store.clone())),
            ledger: Engine::new(PostgresStore::new(nowhere)),
        };
        Self {
            router: routes.with_state(app),
            orders,
            billing,
        }
    }

    /// Posts JSON under a key.
    pub(crate) async fn post(&self, path: &str, key: &str, body: &str) -> Answer {
        self.post_as(Tenant::new("acme"), path, key, body).await
    }

    /// The same, with an extension of the request.
    pub(crate) async fn post_as(
        &self,
        extension: impl Any + Clone + Send + Sync,
        path: &str,
        key: &str,
        body: &str,
    ) -> Answer {
        let request = Request::post(path)
            .header("idempotency-key", key)
            .header(CONTENT_TYPE, "application/json")
            .extension(extension)
            .body(Body::from(body.to_owned()))
            .expect("a request");
        self.send(request).await
    }

    pub(crate) async fn respond(&self, request: Request<Body>) -> Response {
        let response = self.router.clone().oneshot(request).await;
        response.expect("infallible")
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let (parts, body) = self.respond(request).await.into_parts();
        let body = to_bytes(body, usize::MAX).await.expect("a body");
        Answer {
            status: parts.status,
            replayed: parts.headers.contains_key("idempotency-replayed"),
            text: String::from_utf8(body.into()).expect("text"),
        }
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) replayed: bool,
    pub(crate) text: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn ran(&self, text: &str) {
        assert!(self.status.is_success() && !self.replayed, "{self:?}");
        assert_eq!(self.text, text);
    }

    #[track_caller]
    pub(crate) fn replays(&self, first: &Self) {
        assert!(self.replayed, "{self:?}");
        assert_eq!((self.status, &self.text), (first.status, &first.text));
    }

    /// Refused as another request with a key that was used.
    #[track_caller]
    pub(crate) fn is_of_another_request(&self) {
        assert_eq!(self.status, StatusCode::UNPROCESSABLE_ENTITY, "{self:?}");
    }
}

/// A database in memory.
pub(crate) struct Database {
    pool: SqlitePool,
    pub(crate) store: SqliteStore,
}

impl Database {
    pub(crate) async fn create() -> Self {
        let options = SqlitePoolOptions::new().max_connections(1);
        Self::of(options.connect("sqlite::memory:").await.expect("SQLite")).await
    }

    pub(crate) async fn open(file: &Path) -> Self {
        let options = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true);
        Self::of(SqlitePool::connect_with(options).await.expect("SQLite")).await
    }

    async fn of(pool: SqlitePool) -> Self {
        let table = sqlx::query("CREATE TABLE IF NOT EXISTS effects (label TEXT)");
        table.execute(&pool).await.expect("a table");
        let store = SqliteStore::new(pool.clone());
        store.migrate().await.expect("migrates");
        Self { pool, store }
    }

    /// What handlers wrote, in order.
    pub(crate) async fn effects(&self) -> Vec<String> {
        let effects = sqlx::query_scalar("SELECT label FROM effects ORDER BY rowid");
        effects.fetch_all(&self.pool).await.expect("labels")
    }

    /// The operations of what is recorded.
    pub(crate) async fn operations(&self) -> Vec<String> {
        let operations = sqlx::query_scalar("SELECT operation FROM idem_records");
        operations.fetch_all(&self.pool).await.expect("operations")
    }
}
