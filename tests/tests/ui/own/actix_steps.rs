//! A lease and steps, and the names of steps, on actix-web.

use std::marker::PhantomData;

use actix_web::web::{self, ServiceConfig};
use idem_actix::{Shared, idempotent};
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
    let _ = |config: &mut ServiceConfig| {
        config
            .route("/without_lease", web::post().to(without_lease))
            .route("/in_one_transaction", web::post().to(in_one_transaction))
            .route("/shared", web::post().to(shared))
            .route("/longer", web::post().to(longer_than_the_default))
            .route("/as_long", web::post().to(as_long_as_the_deadline))
            .route("/no_time", web::post().to(no_time))
            .route("/borrowed", web::post().to(borrowed))
            .route("/misnamed", web::post().to(misnamed))
            .route("/named_twice", web::post().to(named_twice));
    };
}
