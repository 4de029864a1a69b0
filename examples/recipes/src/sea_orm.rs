//! SeaORM 2.

use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use idem_sea_orm::SeaTransaction;
use sea_orm::sqlx::Sqlite;
use sea_orm::{
    ActiveModelTrait as _, ConnectionTrait, DbErr, Set, SqlErr, TransactionSession as _,
    TransactionTrait as _,
};
use serde::{Deserialize, Serialize};

use crate::failed::Failed;
use crate::tenant::Tenant;

// recipe: handler
#[idempotent(ttl = "24h", scope = "tenant")]
async fn create_order(
    tx: &mut SeaTransaction<Sqlite>,
    tenant: Tenant,
    Json(new): Json<NewOrder>,
) -> Result<(StatusCode, Json<Order>), Failed> {
    let order = order::ActiveModel {
        tenant: Set(tenant.0.clone()),
        item: Set(new.item),
        ..Default::default()
    };
    let order = order.insert(&*tx).await?;

    // A savepoint: if the voucher is used, this part is undone, and the order stands without it.
    let nested = tx.begin().await?;
    let redeemed = match redeem(&nested, order.id, new.voucher).await {
        Ok(()) => {
            nested.commit().await?;
            true
        }
        Err(error) if matches!(error.sql_err(), Some(SqlErr::UniqueConstraintViolation(_))) => {
            nested.rollback().await?;
            false
        }
        Err(error) => return Err(error.into()),
    };
    Ok((
        StatusCode::CREATED,
        Json(Order {
            id: order.id,
            redeemed,
        }),
    ))
}

/// Written for SeaORM alone.
async fn redeem(db: &impl ConnectionTrait, order: i64, code: String) -> Result<(), DbErr> {
    let discount = discount::ActiveModel {
        order_id: Set(order),
        ..Default::default()
    };
    discount.insert(db).await?;
    let used = used_voucher::ActiveModel { code: Set(code) };
    used.insert(db).await.map(drop)
}
// recipe: end

#[derive(Serialize, Deserialize)]
struct NewOrder {
    item: String,
    voucher: String,
}

#[derive(Serialize)]
struct Order {
    id: i64,
    redeemed: bool,
}

// recipe: entity
mod order {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "orders")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) tenant: String,
        pub(crate) item: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}
// recipe: end

mod discount {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "discounts")]
    pub(crate) struct Model {
        #[sea_orm(primary_key)]
        pub(crate) id: i64,
        pub(crate) order_id: i64,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

mod used_voucher {
    use sea_orm::entity::prelude::*;

    #[sea_orm::model]
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "used_vouchers")]
    pub(crate) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(crate) code: String,
    }

    impl ActiveModelBehavior for ActiveModel {}
}

/// The tables of the handler.
pub const SCHEMA: &str = "
    CREATE TABLE orders (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, item TEXT NOT NULL);
    CREATE TABLE discounts (id INTEGER PRIMARY KEY, order_id INTEGER NOT NULL REFERENCES orders (id));
    CREATE TABLE used_vouchers (code TEXT PRIMARY KEY);
";

/// The endpoints.
pub fn router(engine: Engine<SqliteStore>) -> Router {
    Router::new()
        .route("/orders", post(create_order))
        .with_state(engine)
}
