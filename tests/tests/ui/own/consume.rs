//! The rules of consumers.

use idem_consume::{Consumer, Engine, Event, Failure, MessageId, SqliteStore, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Paid {
    id: String,
}

#[idempotent(ttl = "14d", unscoped)]
async fn nothing_named(_: &mut SqliteConnection, _: Event<Paid>) -> Result<(), Failure> {
    Ok(())
}

#[idempotent(ttl = "14d", unscoped, operation = "ship", key = header("nats-msg-id"))]
async fn in_a_header(_: &mut SqliteConnection, _: Event<Paid>) -> Result<(), Failure> {
    Ok(())
}

#[idempotent(ttl = "14d", unscoped, operation = "ship", key = optional("event.id"))]
async fn optional(_: &mut SqliteConnection, event: Event<Paid>) -> Result<(), Failure> {
    drop(event);
    Ok(())
}

#[idempotent(
    ttl = "14d",
    unscoped,
    operation = "ship",
    key = "id",
    wait = "2s",
    replay = "all"
)]
async fn as_on_http(
    _: &mut SqliteConnection,
    id: MessageId,
    _: Event<Paid>,
) -> Result<(), Failure> {
    drop(id);
    Ok(())
}

#[idempotent(
    ttl = "14d",
    unscoped,
    operation = "ship",
    key = "event.id",
    lease = "10s"
)]
async fn leased(_: &mut SqliteConnection, event: Event<Paid>) -> Result<(), Failure> {
    drop(event);
    Ok(())
}

#[idempotent(ttl = "14d", unscoped, operation = "ship", key = "event.id")]
fn not_async(_: &mut SqliteConnection, event: Event<Paid>) -> Result<(), Failure> {
    drop(event);
    Ok(())
}

fn main() {
    let _ = |consumer: Consumer<Engine<SqliteStore>>| {
        let _ = &consumer;
    };
}
