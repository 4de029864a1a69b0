use axum::Router;
use axum::http::Request;
use recipes::batch::{SCHEMA, router};

use crate::call::{Answer, break_inserts, count, engine, mend, send};

fn item(key: &str, cents: i64) -> String {
    format!(r#"{{"key":"{key}","account":"alice","cents":{cents}}}"#)
}

async fn credit(router: &Router, key: &str, items: &[String]) -> Answer {
    let request = Request::post("/credits")
        .header("authorization", "Bearer acme")
        .header("idempotency-key", key)
        .header("content-type", "application/json");
    send(router, request, format!("[{}]", items.join(","))).await
}

#[tokio::test]
async fn the_answer_of_a_batch_is_replayed_as_a_whole() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    let items = [item("a", 5), item("b", 0), item("c", 7)];
    let first = credit(&router, "k", &items).await;
    assert_eq!((first.status.as_u16(), first.is_replay()), (200, false));
    assert_eq!(first.body, r#"["credited","refused","credited"]"#);
    let again = credit(&router, "k", &items).await;
    assert!(again.is_replay());
    assert_eq!(again.body, first.body);
    assert_eq!(count(&pool, "credits").await, 2);
    assert!(credit(&router, "k", &items[..1]).await.is_key_reused());
}

#[tokio::test]
async fn a_new_batch_does_not_repeat_the_effect_of_an_item() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    credit(&router, "1", &[item("a", 5), item("b", 0)]).await;
    let second = [item("a", 5), item("b", 6), item("a", 50)];
    let second = credit(&router, "2", &second).await;
    assert_eq!(second.body, r#"["credited","credited","key_reused"]"#);
    let sum: i64 = sqlx::query_scalar("SELECT sum(cents) FROM credits")
        .fetch_one(&pool)
        .await
        .unwrap();
    assert_eq!(sum, 11);
}

#[tokio::test]
async fn after_a_failure_nothing_of_the_batch_stands_and_a_retry_runs() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    let items = [item("a", 5), item("b", 6)];
    break_inserts(&pool, "credits WHEN NEW.item_key = 'b'").await;
    assert_eq!(credit(&router, "k", &items).await.status, 500);
    assert_eq!(count(&pool, "credits").await, 0);
    mend(&pool).await;
    let retry = credit(&router, "k", &items).await;
    assert_eq!((retry.status.as_u16(), retry.is_replay()), (200, false));
    assert_eq!(count(&pool, "credits").await, 2);
}

#[tokio::test]
async fn simultaneous_batches_share_the_effect_of_a_common_item() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    let (items, others) = ([item("a", 5), item("b", 6)], [item("a", 5), item("c", 7)]);
    let (one, two, three) = tokio::join!(
        credit(&router, "1", &items),
        credit(&router, "2", &others),
        credit(&router, "1", &items),
    );
    for answer in [&one, &two, &three] {
        assert_eq!(answer.body, r#"["credited","credited"]"#);
    }
    assert!(one.is_replay() != three.is_replay());
    assert_eq!(count(&pool, "credits").await, 3);
}
