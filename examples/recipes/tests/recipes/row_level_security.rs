use std::sync::LazyLock;

use axum::Router;
use axum::http::Request;
use idem_axum::PostgresStore;
use idem_tests::{Database as _, Postgres, Wires};
use recipes::row_level_security::{MIGRATION, engine, router};
use sqlx::{AssertSqlSafe, PgPool};

use crate::call::{Answer, send};

/// The role of the service. Roles belong to the whole server, so this process has one of its own.
static ROLE: LazyLock<String> = LazyLock::new(|| format!("shop_{}", std::process::id()));

async fn run(pool: &PgPool, sql: &str) {
    let sql = sql.replace("shop", &ROLE);
    sqlx::raw_sql(AssertSqlSafe(sql))
        .execute(pool)
        .await
        .expect("runs");
}

async fn count(pool: &PgPool, rows: &'static str) -> i64 {
    let count = sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {rows}")));
    count.fetch_one(pool).await.expect("a number")
}

async fn order(router: &Router, path: &str, tenant: &str, key: &str, body: &'static str) -> Answer {
    let request = Request::post(path)
        .header("authorization", format!("Bearer {tenant}"))
        .header("idempotency-key", key)
        .header("content-type", "application/json");
    send(router, request, body).await
}

#[tokio::test]
async fn each_tenant_sees_and_writes_its_own_rows() {
    let database: Postgres = Postgres::create().await;
    let owner = database.connect(Wires::default()).await;
    PostgresStore::new(owner.clone()).migrate().await.unwrap();
    run(&owner, "CREATE ROLE shop").await;
    run(&owner, MIGRATION).await;
    let shop = Wires {
        session: |options| options.options([("role", &*ROLE)]),
        ..Wires::default()
    };
    let shop = database.connect(shop).await;

    // The role is dropped after a failure, too.
    let checked = tokio::spawn(check(owner.clone(), shop.clone())).await;
    shop.close().await;
    run(&owner, "DROP OWNED BY shop; DROP ROLE shop").await;
    owner.close().await;
    database.remove().await;
    checked.unwrap();
}

async fn check(owner: PgPool, shop: PgPool) {
    let router = router(engine(shop.clone()));
    let tea = r#"{"item":"tea"}"#;

    run(&owner, "REVOKE INSERT ON orders FROM shop").await;
    let failed = order(&router, "/orders", "acme", "k", tea).await;
    assert_eq!(failed.status, 500);
    run(&owner, "GRANT INSERT ON orders TO shop").await;

    let (a, b) = tokio::join!(
        order(&router, "/orders", "acme", "k", tea),
        order(&router, "/orders", "acme", "k", tea),
    );
    let other = order(&router, "/orders", "globex", "k", tea).await;
    let again = order(&router, "/orders", "acme", "k", tea).await;
    assert!(a.is_replay() != b.is_replay() && again.is_replay() && !other.is_replay());
    for answer in [a, b, other, again] {
        assert_eq!((answer.status.as_u16(), &*answer.body), (201, r#"["tea"]"#));
    }
    let second = order(&router, "/orders", "acme", "k2", tea).await;
    assert_eq!(second.body, r#"["tea","tea"]"#);
    assert_eq!(count(&owner, "orders").await, 3);

    // A handler that forgets the rule is stopped by the database.
    let path = "/orders-for-anyone";
    let forged = r#"{"item":"tea","tenant":"globex"}"#;
    let forged = order(&router, path, "acme", "k3", forged).await;
    assert_eq!(forged.status, 500);
    let own = order(&router, path, "acme", "k4", tea).await;
    assert_eq!(own.status, 201);
    assert_eq!(count(&owner, "orders WHERE tenant = 'globex'").await, 1);

    // The setting ends with the transaction: no connection of the pool has a tenant.
    for _ in 0..4 {
        assert_eq!(count(&shop, "orders").await, 0);
    }
}
