use axum::Router;
use axum::http::Request;
use recipes::batch::{SCHEMA, router};

use crate::call::{break_inserts, count, engine, mend, send};

fn item(key: &str, cents: i64) -> String {
    format!(r#"{{"key":"{key}","account":"alice","cents":{cents}}}"#)
}

/// Sends a batch, and returns the outcomes.
async fn credit(router: &Router, items: &[String]) -> String {
    let request = Request::post("/credits")
        .header("authorization", "Bearer acme")
        .header("content-type", "application/json");
    let answer = send(router, request, format!("[{}]", items.join(","))).await;
    assert_eq!(answer.status, 200);
    answer.body
}

#[tokio::test]
async fn a_batch_that_comes_again_has_the_same_outcomes() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    let items = [item("a", 5), item("b", 0), item("c", 7)];
    for _ in 0..2 {
        let outcomes = credit(&router, &items).await;
        let expected = r#"[{"credited":1},{"refused":"nothing to credit"},{"credited":2}]"#;
        assert_eq!(outcomes, expected);
    }
    assert_eq!(count(&pool, "credits").await, 2);
}

#[tokio::test]
async fn a_new_batch_does_not_repeat_the_effect_of_an_item() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    credit(&router, &[item("a", 5)]).await;
    let second = [item("b", 6), item("a", 5), item("a", 50), item("", 1)];
    let outcomes = credit(&router, &second).await;
    let expected = r#"[{"credited":2},{"credited":1},"key_reused","failed"]"#;
    assert_eq!(outcomes, expected);
    assert_eq!(count(&pool, "credits").await, 2);
}

#[tokio::test]
async fn a_failure_is_of_its_item_alone_and_a_retry_goes_on() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    let items = [item("a", 5), item("b", 6), item("c", 7)];
    break_inserts(&pool, "credits WHEN NEW.cents = 6").await;
    let outcomes = credit(&router, &items).await;
    assert_eq!(outcomes, r#"[{"credited":1},"try_again",{"credited":2}]"#);
    mend(&pool).await;
    let outcomes = credit(&router, &items).await;
    let expected = r#"[{"credited":1},{"credited":3},{"credited":2}]"#;
    assert_eq!(outcomes, expected);
    assert_eq!(count(&pool, "credits").await, 3);
}

#[tokio::test]
async fn simultaneous_batches_share_the_effect_of_a_common_item() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    let (items, others) = ([item("a", 5), item("b", 6)], [item("a", 5), item("c", 7)]);
    let (one, two, three) = tokio::join!(
        credit(&router, &items),
        credit(&router, &others),
        credit(&router, &items),
    );
    assert_eq!(one, three);
    assert_ne!(one, two);
    assert_eq!(count(&pool, "credits").await, 3);
}
