//! The example of `docs/adopting.md`: two releases of a service run at once, and the earlier one has its
//! own table of keys.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Attempt, Engine, SqliteStore, idempotent};
use sqlx::{SqliteConnection, SqlitePool};

use crate::service::{App, Order, Service, Tenant, write};

/// The earlier release's table: one row for each key, without a status while the request is in flight.
mod old_keys {
    use axum::response::IntoResponse as _;

    use super::{Response, SqliteConnection, StatusCode};

    pub(super) const TABLE: &str = "CREATE TABLE IF NOT EXISTS old_keys \
        (user TEXT, key TEXT, status INTEGER, body TEXT, PRIMARY KEY (user, key))";

    /// Takes a key, or finds the answer that the other release gave.
    pub(super) async fn take(
        tx: &mut SqliteConnection,
        user: &str,
        key: &str,
    ) -> sqlx::Result<Option<Response>> {
        let take = "INSERT INTO old_keys (user, key) VALUES (?, ?) ON CONFLICT DO NOTHING";
        let taken = sqlx::query(take)
            .bind(user)
            .bind(key)
            .execute(&mut *tx)
            .await?;
        if taken.rows_affected() == 1 {
            return Ok(None);
        }
        let saved: (Option<u16>, Option<String>) =
            sqlx::query_as("SELECT status, body FROM old_keys WHERE user = ? AND key = ?")
                .bind(user)
                .bind(key)
                .fetch_one(tx)
                .await?;
        let (Some(status), Some(body)) = saved else {
            return Ok(Some((StatusCode::CONFLICT, "in flight").into_response()));
        };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
        Ok(Some((status, body).into_response()))
    }

    /// Saves an answer for the other release.
    pub(super) async fn save(
        tx: &mut SqliteConnection,
        user: &str,
        key: &str,
        status: StatusCode,
        body: &str,
    ) -> sqlx::Result<()> {
        sqlx::query("UPDATE old_keys SET status = ?, body = ? WHERE user = ? AND key = ?")
            .bind(status.as_u16())
            .bind(body)
            .bind(user)
            .bind(key)
            .execute(tx)
            .await?;
        Ok(())
    }
}

struct Failed;

impl From<sqlx::Error> for Failed {
    fn from(_: sqlx::Error) -> Self {
        Self
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}

/// The earlier release.
async fn before(
    State(engine): State<Engine<SqliteStore>>,
    headers: HeaderMap,
    tenant: Tenant,
    Json(order): Json<Order>,
) -> Result<Response, Failed> {
    let key = headers["idempotency-key"].to_str().unwrap_or_default();
    let pool: &SqlitePool = engine.store().pool();
    let mut tx = pool.begin().await?;
    if let Some(answered) = old_keys::take(&mut tx, &tenant.name, key).await? {
        return Ok(answered);
    }
    write(&mut tx, &order.item).await?;
    let status = StatusCode::CREATED;
    old_keys::save(&mut tx, &tenant.name, key, status, &order.item).await?;
    tx.commit().await?;
    Ok((status, order.item).into_response())
}

/// The later release, as long as instances and keys of the earlier one are alive.
#[idempotent(ttl = "24h", scope = "tenant")]
async fn after(
    tx: &mut SqliteConnection,
    attempt: &Attempt,
    tenant: Tenant,
    Json(order): Json<Order>,
) -> Result<Response, Failed> {
    let key = attempt.key().unwrap_or_default();
    if let Some(answered) = old_keys::take(tx, &tenant.name, key).await? {
        return Ok(answered);
    }
    write(tx, &order.item).await?;
    let status = StatusCode::CREATED;
    old_keys::save(tx, &tenant.name, key, status, &order.item).await?;
    Ok((status, order.item).into_response())
}

#[tokio::test]
async fn r6_two_releases_with_a_table_of_keys_each_have_one_effect() {
    let routes: Router<App> = Router::new()
        .route("/before", post(before))
        .route("/after", post(after));
    let service = Service::start(routes).await;
    let created = sqlx::query(old_keys::TABLE).execute(service.orders.store.pool());
    created.await.expect("a table");
    let mut effects = Vec::new();
    for (key, releases) in [
        ("k1", ["/before", "/after", "/after", "/before"]),
        ("k2", ["/after", "/before", "/after", "/before"]),
        ("k3", ["/after", "/after", "/before", "/after"]),
    ] {
        let order = format!(r#"{{"item":"{key}"}}"#);
        for path in releases {
            let answer = service.post(path, key, &order).await;
            assert_eq!((answer.status, &*answer.text), (StatusCode::CREATED, key));
        }
        effects.push(key.to_owned());
    }
    assert_eq!(service.orders.effects().await, effects);
    // An instance of the earlier release has the key, and has not answered yet.
    let taken = "INSERT INTO old_keys (user, key) VALUES ('acme', 'k4')";
    sqlx::query(taken)
        .execute(service.orders.store.pool())
        .await
        .expect("a row");
    let order = r#"{"item":"k4"}"#;
    let busy = service.post("/after", "k4", order).await;
    assert_eq!(busy.status, StatusCode::CONFLICT);
    // It crashes, and its row is rolled back or removed.
    let freed = sqlx::query("DELETE FROM old_keys WHERE key = 'k4'");
    freed
        .execute(service.orders.store.pool())
        .await
        .expect("deletes");
    service.post("/after", "k4", order).await.ran("k4");
}
