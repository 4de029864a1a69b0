//! Signatures: transactions, attempts, extractors, lifetimes, generics and what is returned.

use std::collections::BTreeMap;

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Extension, Json, Router};
use idem_axum::{Attempt, Open, Transaction, idempotent};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, Postgres, Sqlite, SqliteConnection};

use crate::service::{App, Order, Service, write};

#[idempotent(ttl = "24h", unscoped)]
async fn nothing(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", scope = "id")]
async fn parts_only(
    tx: &mut SqliteConnection,
    Query(query): Query<BTreeMap<String, String>>,
    State(app): State<App>,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<String, StatusCode> {
    drop(app);
    write(tx, &id)
        .await
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(format!(
        "{id} {} {}",
        query.len(),
        headers.contains_key("idempotency-key")
    ))
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_connection_of_postgres(
    tx: &mut PgConnection,
    Json(order): Json<Order>,
) -> Result<Json<Order>, StatusCode> {
    let inserted = sqlx::query("INSERT INTO orders VALUES ($1)")
        .bind(&order.item)
        .execute(&mut *tx)
        .await;
    inserted.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Json(order))
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_transaction_of_postgres(
    tx: &mut sqlx::Transaction<'_, Postgres>,
    Json(order): Json<Order>,
) -> Result<Json<Order>, StatusCode> {
    let inserted = sqlx::query("INSERT INTO orders VALUES ($1)")
        .bind(&order.item)
        .execute(&mut **tx)
        .await;
    inserted.map_err(|_| StatusCode::BAD_GATEWAY)?;
    Ok(Json(order))
}

#[idempotent(ttl = "24h", unscoped)]
async fn a_transaction_of_sqlite(
    Path(id): Path<String>,
    tx: &mut sqlx::Transaction<'_, Sqlite>,
) -> impl IntoResponse {
    let written = write(tx, &id).await;
    (
        StatusCode::CREATED,
        written.map_or_else(|error| error.to_string(), |()| id),
    )
}

#[idempotent(ttl = "24h", unscoped)]
async fn attempt_first(attempt: &Attempt, tx: &mut SqliteConnection, order: Json<Order>) -> String {
    let _ = (tx, order);
    attempt.number().to_string()
}

#[idempotent(ttl = "24h", unscoped)]
async fn attempt_last(tx: &mut SqliteConnection, order: Json<Order>, attempt: &Attempt) -> String {
    let _ = (tx, order);
    attempt.downstream_key("psp").unwrap_or_default()
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn lifetimes<'a, 'b>(
    tx: &'b mut sqlx::Transaction<'a, Sqlite>,
    attempt: &'b Attempt,
    Extension(tenant): Extension<&'a str>,
) -> Result<String, StatusCode>
where
    'a: 'b,
{
    let written = write(tx, tenant).await;
    written.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(format!("{tenant} {}", attempt.number()))
}

/// The application's own trait over the databases it supports.
trait Ledger: Transaction + for<'c> Open<'c> {
    fn enter(&mut self, item: &str) -> impl Future<Output = Result<(), sqlx::Error>> + Send;
}

impl Ledger for SqliteConnection {
    async fn enter(&mut self, item: &str) -> Result<(), sqlx::Error> {
        write(self, item).await
    }
}

impl Ledger for PgConnection {
    async fn enter(&mut self, item: &str) -> Result<(), sqlx::Error> {
        let inserted = sqlx::query("INSERT INTO effects VALUES ($1)").bind(item);
        inserted.execute(self).await.map(|_| ())
    }
}

#[idempotent(ttl = "24h", unscoped)]
async fn generic<L: Ledger, T, const N: usize>(
    ledger: &mut L,
    Json(value): Json<T>,
) -> impl IntoResponse
where
    T: Serialize + DeserializeOwned + ToString,
{
    let text = value.to_string().repeat(N);
    let entered = ledger.enter(&text).await;
    entered.map_or_else(|error| error.to_string(), |()| text)
}

#[derive(Debug, Serialize, Deserialize)]
struct Reason {
    status: u16,
}

enum Refusal {
    Database,
    Because(Reason),
}

impl From<sqlx::Error> for Refusal {
    fn from(_: sqlx::Error) -> Self {
        Self::Database
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> axum::response::Response {
        let status = match self {
            Self::Database => StatusCode::SERVICE_UNAVAILABLE,
            Self::Because(reason) => {
                StatusCode::from_u16(reason.status).unwrap_or(StatusCode::IM_A_TEAPOT)
            }
        };
        status.into_response()
    }
}

#[idempotent(ttl = "24h", unscoped)]
async fn question_marks(
    tx: &mut SqliteConnection,
    Json(reason): Json<Reason>,
) -> Result<impl IntoResponse, Refusal> {
    write(tx, "refused").await?;
    if reason.status >= 400 {
        Err(Refusal::Because(reason))?;
    }
    Ok((StatusCode::CREATED, [("x-kind", "fine")]))
}

fn routes() -> Router<App> {
    Router::new()
        .route("/nothing", post(nothing))
        .route("/parts_only/{id}", post(parts_only))
        .route("/a_connection_of_postgres", post(a_connection_of_postgres))
        .route(
            "/a_transaction_of_postgres",
            post(a_transaction_of_postgres),
        )
        .route(
            "/a_transaction_of_sqlite/{id}",
            post(a_transaction_of_sqlite),
        )
        .route("/attempt_first", post(attempt_first))
        .route("/attempt_last", post(attempt_last))
        .route("/lifetimes", post(lifetimes))
        .route("/generic", post(generic::<SqliteConnection, u32, 3>))
        .route(
            "/generic/postgres",
            post(generic::<PgConnection, String, 1>),
        )
        .route("/question_marks", post(question_marks))
}

#[tokio::test]
async fn no_extractor_and_no_body() {
    let service = Service::start(routes()).await;
    let first = service.post("/nothing", "1", "").await;
    first.ran("");
    service.post("/nothing", "1", "").await.replays(&first);
    let first = service.post("/parts_only/a?b=c", "1", "").await;
    first.ran("a 1 true");
    service
        .post("/parts_only/a?b=c", "1", "")
        .await
        .replays(&first);
    service
        .post("/parts_only/a?b=d", "1", "")
        .await
        .is_of_another_request();
    assert_eq!(service.orders.effects().await, ["a"]);
}

#[tokio::test]
async fn a_savepoint_is_a_transaction_too() {
    let service = Service::start(routes()).await;
    let first = service.post("/a_transaction_of_sqlite/a", "1", "").await;
    first.ran("a");
    service
        .post("/a_transaction_of_sqlite/a", "1", "")
        .await
        .replays(&first);
    assert_eq!(service.orders.effects().await, ["a"]);
}

#[tokio::test]
async fn the_attempt_stands_anywhere() {
    let service = Service::start(routes()).await;
    let body = r#"{"item": "book"}"#;
    service.post("/attempt_first", "1", body).await.ran("1");
    let first = service.post("/attempt_last", "1", body).await;
    let other = service.post("/attempt_last", "2", body).await;
    assert_eq!(first.text.len(), 32);
    assert_ne!(first.text, other.text);
}

#[tokio::test]
async fn lifetimes_with_names() {
    let service = Service::start(routes()).await;
    let first = service.post_as("acme", "/lifetimes", "1", "").await;
    first.ran("acme 1");
    service
        .post_as("acme", "/lifetimes", "1", "")
        .await
        .replays(&first);
    service
        .post_as("other", "/lifetimes", "1", "")
        .await
        .ran("other 1");
    assert_eq!(service.orders.effects().await, ["acme", "other"]);
}

#[tokio::test]
async fn generic_over_the_connection_and_the_body() {
    let service = Service::start(routes()).await;
    let first = service.post("/generic", "1", "7").await;
    first.ran("777");
    service.post("/generic", "1", " 7 ").await.replays(&first);
    service
        .post("/generic", "1", "8")
        .await
        .is_of_another_request();
    assert_eq!(service.orders.effects().await, ["777"]);
}

#[tokio::test]
async fn question_marks_lead_to_recorded_refusals() {
    let service = Service::start(routes()).await;
    let refused = service
        .post("/question_marks", "1", r#"{"status": 402}"#)
        .await;
    assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED);
    let again = service
        .post("/question_marks", "1", r#"{"status": 402}"#)
        .await;
    again.replays(&refused);
    assert!(service.orders.effects().await.is_empty());
}
