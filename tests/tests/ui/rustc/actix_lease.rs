//! A lease and steps under other names, on actix-web.
#![allow(dead_code)] // on a route, actix-web would add that it is not a handler

use actix_web::web::Json;
use idem_actix::{Borrowed, Open, SqliteStore, Transaction, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

#[derive(Serialize, Deserialize)]
struct Order {
    item: String,
}

struct Steps(u8);

type BoxError = Box<dyn std::error::Error + Send + Sync>;

impl Transaction for Steps {
    type Connection = SqliteConnection;
    type Store = SqliteStore;

    const IS_LEASED: bool = true;
}

impl<'c> Open<'c> for Steps {
    type Opened = Self;

    async fn open(_: Borrowed<'c, SqliteConnection>) -> Result<Self, BoxError> {
        Ok(Self(0))
    }

    fn lend<'r>(opened: &'r mut Self) -> &'r mut Self
    where
        'c: 'r,
    {
        opened
    }

    async fn close(_: Self, _: bool) -> Result<(), BoxError> {
        Ok(())
    }
}

type Rides = Steps;
type Tx<'c> = sqlx::Transaction<'c, sqlx::Sqlite>;

#[idempotent(ttl = "24h", unscoped)]
async fn steps_without_lease(steps: &mut Rides, order: Json<Order>) -> String {
    let _ = steps;
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped, lease = "10s")]
async fn transaction_with_lease(tx: &mut Tx<'_>, order: Json<Order>) -> String {
    let _ = tx;
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped, body = "order", lease = "10s")]
async fn anything_with_lease<C>(tx: &mut C, order: Json<Order>) -> String
where
    C: Transaction<Connection = SqliteConnection, Store = SqliteStore>
        + for<'c> Open<'c>
        + Send
        + 'static,
{
    let _ = tx;
    order.into_inner().item
}

// These two are right.

#[idempotent(ttl = "24h", unscoped)]
async fn transaction(tx: &mut Tx<'_>, order: Json<Order>) -> String {
    let _ = tx;
    order.into_inner().item
}

#[idempotent(ttl = "24h", unscoped, body = "order")]
async fn any_transaction<C>(tx: &mut C, order: Json<Order>) -> String
where
    C: Transaction<Connection = SqliteConnection, Store = SqliteStore>
        + for<'c> Open<'c>
        + Send
        + 'static,
{
    let _ = tx;
    order.into_inner().item
}

fn main() {}
