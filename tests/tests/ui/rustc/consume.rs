//! What the types of a consumer have to be.

use idem_consume::{
    Consumer, Delivery, Engine, Event, Failure, MessageId, PostgresStore, SqliteStore, State,
    idempotent,
};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Paid {
    id: String,
}

#[derive(Deserialize)]
struct Unbound {
    id: String,
}

struct Stock;

#[idempotent(ttl = "14d", unscoped, operation = "a", key = "event.id")]
async fn with_an_answer(_: &mut SqliteConnection, event: Event<Paid>) -> Result<String, Failure> {
    Ok(event.0.id)
}

#[idempotent(ttl = "14d", unscoped, operation = "b", key = "event.id")]
async fn with_another_error(_: &mut SqliteConnection, event: Event<Paid>) -> Result<(), String> {
    Err(event.0.id)
}

#[idempotent(ttl = "14d", unscoped, operation = "c", key = "event.id")]
async fn not_bound(_: &mut SqliteConnection, event: Event<Unbound>) -> Result<(), Failure> {
    Ok(())
}

#[idempotent(ttl = "14d", unscoped, operation = "d", key = "id")]
async fn without_content(_: &mut SqliteConnection, id: MessageId) -> Result<(), Failure> {
    Ok(())
}

#[idempotent(ttl = "14d", unscoped, operation = "e", key = "event.id", state = Engine<PostgresStore>)]
async fn of_another_database(_: &mut SqliteConnection, event: Event<Paid>) -> Result<(), Failure> {
    Ok(())
}

#[idempotent(ttl = "14d", unscoped, operation = "f", key = "event.id", state = Engine<SqliteStore>)]
async fn without_stock(
    _: &mut SqliteConnection,
    State(_): State<Stock>,
    event: Event<Paid>,
) -> Result<(), Failure> {
    Ok(())
}

#[idempotent(ttl = "14d", unscoped, operation = "g", key = "event.id")]
async fn right(_: &mut SqliteConnection, event: Event<Paid>) -> Result<(), Failure> {
    Ok(())
}

fn main() {
    let _ = |consumer: Consumer<Engine<PostgresStore>>| {
        let _ = consumer.run(right, Delivery::new(""));
    };
}
