use axum::Router;
use axum::http::Request;
use recipes::sea_orm::{SCHEMA, router};

use crate::call::{Answer, break_inserts, count, engine, mend, send};

async fn order(router: &Router, key: &str) -> Answer {
    let request = Request::post("/orders")
        .header("authorization", "Bearer acme")
        .header("idempotency-key", key)
        .header("content-type", "application/json");
    send(router, request, r#"{"item":"tea","voucher":"TEN"}"#).await
}

#[tokio::test]
async fn an_order_and_its_voucher_are_written_once() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    let (a, b) = tokio::join!(order(&router, "k"), order(&router, "k"));
    let again = order(&router, "k").await;
    assert!(a.is_replay() != b.is_replay() && again.is_replay());
    for answer in [a, b, again] {
        assert_eq!(answer.status, 201);
        assert_eq!(answer.body, r#"{"id":1,"redeemed":true}"#);
    }
    for table in ["orders", "discounts", "used_vouchers"] {
        assert_eq!(count(&pool, table).await, 1, "{table}");
    }
}

#[tokio::test]
async fn a_used_voucher_is_undone_by_its_savepoint() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    order(&router, "k").await;
    for is_replay in [false, true] {
        let second = order(&router, "other").await;
        assert_eq!(
            (second.status.as_u16(), second.is_replay()),
            (201, is_replay)
        );
        assert_eq!(second.body, r#"{"id":2,"redeemed":false}"#);
    }
    assert_eq!(count(&pool, "orders").await, 2);
    assert_eq!(count(&pool, "discounts").await, 1);
}

#[tokio::test]
async fn an_error_undoes_the_order_and_a_retry_runs() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    break_inserts(&pool, "used_vouchers").await;
    assert_eq!(order(&router, "k").await.status, 500);
    assert_eq!(count(&pool, "orders").await, 0);
    mend(&pool).await;
    let retry = order(&router, "k").await;
    assert_eq!((retry.status.as_u16(), retry.is_replay()), (201, false));
    assert_eq!(count(&pool, "orders").await, 1);
}
