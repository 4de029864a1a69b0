//! The item below the attribute, and its other attributes.

use axum::Router;
// Stands in for a framework's attribute of that name.
use axum::debug_handler as get;
use axum::extract::Path;
use axum::routing::post;
use idem_axum::{Engine, SqliteStore, idempotent};
use sqlx::SqliteConnection;

#[idempotent(ttl = "24h", unscoped)]
fn not_async(tx: &mut SqliteConnection) {
    sqlx::query("DELETE FROM orders").execute(tx).await.unwrap();
}

#[idempotent(ttl = "24h", unscoped)]
unsafe extern "C" fn qualified(_: &mut SqliteConnection, _: ...) {}

#[idempotent(ttl = "24h", unscoped)]
const async fn constant(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped)]
#[get]
async fn read_only(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped)]
#[idempotent(ttl = "24h", unscoped)]
async fn protected_twice(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped)]
struct Orders(String);

impl Orders {
    #[idempotent(ttl = "24h", scope = "id")]
    async fn a_method(&self, tx: &mut SqliteConnection, Path(id): Path<String>) -> String {
        sqlx::query("DELETE FROM orders").execute(tx).await.unwrap();
        self.0.clone() + &id
    }

    #[idempotent(ttl = "24h", unscoped)]
    async fn names_self(_: &mut SqliteConnection, Path(id): Path<String>) -> String {
        Self(id).0
    }
}

trait Ledger {
    #[idempotent(ttl = "24h", unscoped)]
    async fn without_a_body(tx: &mut SqliteConnection);
}

impl Ledger for Orders {
    async fn without_a_body(tx: &mut SqliteConnection) {
        sqlx::query("DELETE FROM orders").execute(tx).await.unwrap();
    }
}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/not_async", post(not_async))
            .route("/qualified", post(qualified))
            .route("/constant", post(constant))
            .route("/read_only", post(read_only))
            .route("/protected_twice", post(protected_twice))
            .with_state(app)
    };
    let _ = Orders::a_method;
    let _ = Orders::names_self;
    let _ = <Orders as Ledger>::without_a_body;
}
