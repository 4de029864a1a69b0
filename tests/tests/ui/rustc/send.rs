//! A handler can move to another thread.

use std::rc::Rc;

use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

#[idempotent(ttl = "24h", unscoped)]
async fn holds_an_rc(tx: &mut SqliteConnection, Json(order): Json<Order>) -> String {
    let item = Rc::new(order.item);
    sqlx::query("INSERT INTO orders VALUES (?)")
        .bind(&*item)
        .execute(tx)
        .await
        .unwrap();
    item.to_string()
}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/holds_an_rc", post(holds_an_rc))
            .with_state(app)
    };
}
