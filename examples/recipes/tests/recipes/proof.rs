use axum::Router;
use axum::http::Request;
use recipes::proof::{App, Captcha, SCHEMA, router};
use sqlx::SqlitePool;

use crate::call::{Answer, count, engine, send};

async fn start() -> (Router, Captcha, SqlitePool) {
    let (engine, pool) = engine(SCHEMA).await;
    let captcha = Captcha::default();
    let app = App {
        engine,
        captcha: captcha.clone(),
    };
    run(
        &pool,
        "INSERT INTO codes VALUES ('123456', 'acme', NULL);
         INSERT INTO accounts VALUES ('acme', 0);
         INSERT INTO hall VALUES (0)",
    )
    .await;
    (router(app), captcha, pool)
}

async fn run(pool: &SqlitePool, sql: &'static str) {
    sqlx::raw_sql(sql).execute(pool).await.expect("runs");
}

async fn withdraw(router: &Router, key: &str, code: &str) -> Answer {
    let request = Request::post("/withdrawals")
        .header("authorization", "Bearer acme")
        .header("idempotency-key", key)
        .header("x-code", code)
        .header("content-type", "application/json");
    send(router, request, r#"{"cents":500}"#).await
}

async fn book(router: &Router, key: &str, captcha: &str) -> Answer {
    let request = Request::post("/bookings")
        .header("authorization", "Bearer acme")
        .header("idempotency-key", key)
        .header("content-type", "application/json");
    let body = format!(r#"{{"seats":2,"captcha":"{captcha}"}}"#);
    send(router, request, body).await
}

fn seen(answer: &Answer) -> (u16, bool) {
    (answer.status.as_u16(), answer.is_replay())
}

async fn cents(pool: &SqlitePool) -> i64 {
    let cents = sqlx::query_scalar("SELECT cents FROM accounts");
    cents.fetch_one(pool).await.expect("an account")
}

#[tokio::test]
async fn an_attempt_that_failed_gives_the_code_back() {
    let (router, _, pool) = start().await;
    assert_eq!(seen(&withdraw(&router, "k", "123456").await), (409, false));
    assert_eq!(count(&pool, "codes WHERE used_at IS NULL").await, 1);

    run(&pool, "UPDATE accounts SET cents = 1000").await;
    let (a, b) = tokio::join!(
        withdraw(&router, "k", "123456"),
        withdraw(&router, "k", "123456")
    );
    assert_eq!((a.status.as_u16(), b.status.as_u16()), (201, 201));
    assert!(a.is_replay() != b.is_replay());
    assert_eq!(cents(&pool).await, 500);
}

#[tokio::test]
async fn a_replay_needs_no_new_code_and_another_request_does() {
    let (router, _, pool) = start().await;
    run(&pool, "UPDATE accounts SET cents = 1000").await;
    assert_eq!(seen(&withdraw(&router, "k", "123456").await), (201, false));
    assert_eq!(seen(&withdraw(&router, "k", "123456").await), (201, true));
    assert_eq!(
        seen(&withdraw(&router, "other", "123456").await),
        (403, false)
    );
    assert_eq!(seen(&withdraw(&router, "wrong", "0").await), (403, false));
    assert_eq!(cents(&pool).await, 500);
}

#[tokio::test]
async fn after_a_wrong_code_the_key_runs_with_the_right_one() {
    let (router, _, pool) = start().await;
    run(&pool, "UPDATE accounts SET cents = 1000").await;
    assert_eq!(seen(&withdraw(&router, "k", "0").await), (403, false));
    assert_eq!(seen(&withdraw(&router, "k", "123456").await), (201, false));
    assert_eq!(cents(&pool).await, 500);
}

#[tokio::test]
async fn the_answer_of_the_captcha_service_is_kept_for_the_retry() {
    let (router, captcha, pool) = start().await;
    captcha.issue("t1");
    assert_eq!(seen(&book(&router, "k", "t1").await), (409, false));
    assert_eq!(count(&pool, "bookings").await, 0);
    // A second failure keeps it, too.
    assert_eq!(seen(&book(&router, "k", "t1").await), (409, false));
    // Another request can't use what was kept.
    assert_eq!(seen(&book(&router, "other", "t1").await), (403, false));

    run(&pool, "UPDATE hall SET free = 10").await;
    let calls = captcha.calls();
    assert_eq!(seen(&book(&router, "k", "t1").await), (201, false));
    assert_eq!(seen(&book(&router, "k", "t1").await), (201, true));
    assert_eq!(captcha.calls(), calls);
    assert_eq!(seen(&book(&router, "other", "t1").await), (403, false));
    assert_eq!(count(&pool, "bookings").await, 1);
    assert_eq!(count(&pool, "verified").await, 0);
}

#[tokio::test]
async fn a_retry_may_have_a_new_token() {
    let (router, captcha, pool) = start().await;
    captcha.issue("t1");
    captcha.issue("t2");
    assert_eq!(seen(&book(&router, "k", "t1").await), (409, false));
    run(&pool, "UPDATE hall SET free = 10").await;
    assert_eq!(seen(&book(&router, "k", "t2").await), (201, false));
    // A replay needs none at all.
    assert_eq!(seen(&book(&router, "k", "").await), (201, true));
    assert_eq!(count(&pool, "bookings").await, 1);
}

#[tokio::test]
async fn simultaneous_duplicates_ask_the_captcha_service_once() {
    let (router, captcha, pool) = start().await;
    run(&pool, "UPDATE hall SET free = 10").await;
    captcha.issue("t1");
    let (a, b) = tokio::join!(book(&router, "k", "t1"), book(&router, "k", "t1"));
    assert_eq!((a.status.as_u16(), b.status.as_u16()), (201, 201));
    assert!(a.is_replay() != b.is_replay());
    assert_eq!((captcha.calls(), count(&pool, "bookings").await), (1, 1));
}
