//! A lease and steps, and the names of steps.

use std::marker::PhantomData;

use axum::Router;
use axum::routing::post;
use idem_axum::{Engine, Shared, SqliteStore, idempotent};
use sqlx::SqliteConnection;

struct Steps<C>(PhantomData<C>);

type Step = Result<u64, String>;

impl<C> Steps<C> {
    async fn commit<N>(&mut self, _: N, _: impl AsyncFnOnce(&mut C) -> Step) -> Step {
        Ok(1)
    }

    async fn call<N>(&mut self, _: N, _: impl AsyncFnOnce(&str) -> Step) -> Step {
        Ok(1)
    }
}

#[idempotent(ttl = "24h", unscoped)]
async fn without_lease(_: &mut Steps<SqliteConnection>) {}

#[idempotent(ttl = "24h", unscoped, lease = "10s")]
async fn in_one_transaction(_: &mut SqliteConnection) {}

#[idempotent(ttl = "24h", unscoped, lease = "10s")]
async fn shared(_: &mut Shared<SqliteConnection>) {}

#[idempotent(ttl = "24h", unscoped, lease = "1m")]
async fn longer_than_the_default(_: &mut Steps<SqliteConnection>) {}

#[idempotent(ttl = "24h", unscoped, lease = "10s", deadline = "10s")]
async fn as_long_as_the_deadline(_: &mut Steps<SqliteConnection>) {}

#[idempotent(ttl = "24h", unscoped, lease = "0s")]
async fn no_time(_: &mut Steps<SqliteConnection>) {}

#[idempotent(ttl = "24h", unscoped, lease = "10s")]
async fn borrowed(_: &Steps<SqliteConnection>) {}

#[idempotent(ttl = "24h", unscoped, lease = "10s")]
async fn misnamed(steps: &mut Steps<SqliteConnection>) -> Result<String, String> {
    let name = "charge";
    steps.commit("Ride", async |_| Ok(1)).await?;
    steps.call(name, async |_| Ok(1)).await?;
    steps.call(format!("{name}-1"), async |_| Ok(1)).await?;
    Ok(String::new())
}

#[idempotent(ttl = "24h", unscoped, lease = "10s")]
async fn named_twice(steps: &mut Steps<SqliteConnection>) -> Result<String, String> {
    let ride = steps.commit("ride", async |_| Ok(1)).await?;
    match ride {
        0 => steps.call("charge", async |_| Ok(1)).await?,
        _ => steps.call("charge", async |_| Ok(2)).await?,
    };
    if ride > 0 {
        steps.commit("ride", async |_| Ok(2)).await?;
    }
    for id in 0..ride {
        steps.call("mail", async |_| Ok(id)).await?;
        steps.call(("Receipt", id), async |_| Ok(id)).await?;
    }
    steps.call("charge", async |_| Ok(3)).await?;
    Ok(String::new())
}

fn main() {
    let _ = |app: Engine<SqliteStore>| -> Router {
        Router::new()
            .route("/without_lease", post(without_lease))
            .route("/in_one_transaction", post(in_one_transaction))
            .route("/shared", post(shared))
            .route("/longer", post(longer_than_the_default))
            .route("/as_long", post(as_long_as_the_deadline))
            .route("/no_time", post(no_time))
            .route("/borrowed", post(borrowed))
            .route("/misnamed", post(misnamed))
            .route("/named_twice", post(named_twice))
            .with_state(app)
    };
}
