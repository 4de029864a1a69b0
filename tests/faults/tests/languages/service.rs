//! A service with the endpoints of three others, each of which adds one row.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::extract::{Form, FromRef, Request, State};
use axum::http::{HeaderName, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Engine, Problem, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{SqliteConnection, SqlitePool};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    app: App,
    _folder: TempDir,
}

#[derive(Clone)]
struct App {
    engine: Engine<SqliteStore>,
    pool: SqlitePool,
    /// The keys of all requests.
    keys: Arc<Mutex<Vec<String>>>,
}

impl FromRef<App> for Engine<SqliteStore> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

/// The body of Stripe's SDKs.
#[derive(Serialize, Deserialize)]
struct Charge {
    amount: u64,
    currency: String,
    description: String,
}

#[idempotent(ttl = "24h", unscoped)]
async fn charge(tx: &mut SqliteConnection, Form(charge): Form<Charge>) -> Json<Value> {
    Json(create(tx, &charge.description).await)
}

/// The body of the others.
#[derive(Serialize, Deserialize)]
struct Named {
    name: String,
}

#[idempotent(ttl = "24h", unscoped)]
async fn named(tx: &mut SqliteConnection, Json(named): Json<Named>) -> Json<Value> {
    Json(create(tx, &named.name).await)
}

async fn create(tx: &mut SqliteConnection, name: &str) -> Value {
    let insert = "INSERT INTO effects (name) VALUES ($1) RETURNING id";
    let id = sqlx::query_scalar(insert).bind(name).fetch_one(tx).await;
    let id: i64 = id.expect("a row");
    json!({
        "id": id.to_string(),
        "object": "charge",
        "name": name,
        "createdAt": "2026-11-27T00:00:00Z",
        "updatedAt": "2026-11-27T00:00:00Z",
        "metadata": {},
    })
}

async fn note(State(app): State<App>, request: Request, next: Next) -> Response {
    let key = request.headers().get("idempotency-key");
    let key = key.and_then(|key| key.to_str().ok()).unwrap_or_default();
    lock(&app.keys).push(key.to_owned());
    next.run(request).await
}

/// Answers a problem in the form that Stripe's SDKs read.
async fn in_stripes_form(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let Some(&problem) = response.extensions().get::<Problem>() else {
        return response;
    };
    // As Stripe answers it.
    let (status, kind) = match problem {
        Problem::KeyReused => (StatusCode::BAD_REQUEST, "idempotency_error"),
        _ => (problem.status(), "api_error"),
    };
    let error = json!({ "error": { "type": kind, "code": problem.name() } });
    let again = problem.retryable().to_string();
    let again = [(HeaderName::from_static("stripe-should-retry"), again)];
    (status, again, Json(error)).into_response()
}

impl Service {
    pub(crate) async fn start() -> Self {
        Self::start_with(|router| router).await
    }

    pub(crate) async fn start_in_stripes_form() -> Self {
        Self::start_with(|router| router.layer(from_fn(in_stripes_form))).await
    }

    async fn start_with(layered: impl FnOnce(Router) -> Router) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("effects.db"))
            .create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.expect("a database");
        let table = "CREATE TABLE effects (id INTEGER PRIMARY KEY, name TEXT NOT NULL)";
        sqlx::query(table).execute(&pool).await.expect("a table");
        let store = SqliteStore::new(pool.clone());
        store.migrate().await.expect("the tables of idem");
        let engine = Engine::new(store);
        let keys = Arc::default();
        let app = App { engine, pool, keys };
        let router = Router::new()
            .route("/v1/charges", post(charge))
            .route("/api/v1/app", post(named))
            .route("/api/counterparties", post(named))
            .route_layer(from_fn_with_state(app.clone(), note))
            .with_state(app.clone());
        let router = layered(router);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            address,
            app,
            _folder: folder,
        }
    }

    /// The ids of the rows of each name.
    pub(crate) async fn effects(&self) -> BTreeMap<String, Vec<String>> {
        let rows = sqlx::query_as("SELECT name, id FROM effects ORDER BY id");
        let rows: Vec<(String, i64)> = rows.fetch_all(&self.app.pool).await.expect("the rows");
        let mut effects = BTreeMap::<String, Vec<String>>::new();
        for (name, id) in rows {
            effects.entry(name).or_default().push(id.to_string());
        }
        effects
    }

    /// The number of requests, and their different keys.
    pub(crate) fn keys(&self) -> (usize, BTreeSet<String>) {
        let keys = lock(&self.app.keys);
        (keys.len(), keys.iter().cloned().collect())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
