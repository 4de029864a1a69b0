//! Requests to a router without a socket.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::request::Builder;
use axum::http::{HeaderMap, Request, Response, StatusCode};
use idem_axum::{Engine, SqliteStore};
use sqlx::{AssertSqlSafe, SqlitePool};
use tower::ServiceExt as _;

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn is_replay(&self) -> bool {
        self.headers.contains_key("idempotency-replayed")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap())
    }

    /// Whether it is idem's own 422.
    pub(crate) fn is_key_reused(&self) -> bool {
        self.status == 422 && self.body.contains("#key-reused")
    }
}

/// An engine on a database with these tables.
pub(crate) async fn engine(schema: &'static str) -> (Engine<SqliteStore>, SqlitePool) {
    let store = SqliteStore::in_memory().await.unwrap();
    let pool = store.pool().clone();
    sqlx::raw_sql(schema).execute(&pool).await.unwrap();
    (Engine::new(store), pool)
}

pub(crate) async fn send(
    router: &Router,
    request: Builder,
    body: impl Into<Body> + Send,
) -> Answer {
    let request: Request<Body> = request.body(body.into()).unwrap();
    let response: Response<Body> = router.clone().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    Answer {
        status: head.status,
        headers: head.headers,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

pub(crate) async fn count(pool: &SqlitePool, table: &str) -> i64 {
    let count = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {table}")));
    count.fetch_one(pool).await.unwrap()
}

/// Lets inserts fail until `mend`.
pub(crate) async fn break_inserts(pool: &SqlitePool, on: &str) {
    let trigger = format!(
        "CREATE TRIGGER broken BEFORE INSERT ON {on} BEGIN SELECT RAISE(ABORT, 'broken'); END"
    );
    sqlx::raw_sql(AssertSqlSafe(trigger))
        .execute(pool)
        .await
        .unwrap();
}

pub(crate) async fn mend(pool: &SqlitePool) {
    sqlx::raw_sql("DROP TRIGGER broken")
        .execute(pool)
        .await
        .unwrap();
}
