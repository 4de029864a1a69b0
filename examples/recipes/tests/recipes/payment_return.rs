use axum::Router;
use axum::http::{Method, Request};
use recipes::payment_return::{Psp, SCHEMA, router};
use sqlx::SqlitePool;

use crate::call::{Answer, break_inserts, count, engine, mend, send};

async fn service() -> (Router, SqlitePool, Psp) {
    let (engine, pool) = engine(SCHEMA).await;
    let psp = Psp::default();
    (router(engine, psp.clone()), pool, psp)
}

async fn visit(router: &Router, method: Method, query: &str) -> Answer {
    let uri = format!("/return/pay_1?{query}");
    send(router, Request::builder().method(method).uri(uri), "").await
}

async fn come_back(router: &Router) -> Answer {
    visit(router, Method::GET, "token=5d41402a").await
}

async fn notify(router: &Router, event: &str) -> Answer {
    send(
        router,
        Request::post(format!("/captured/pay_1/{event}")),
        "",
    )
    .await
}

#[tokio::test]
async fn a_reload_sees_the_same_redirect_and_ships_once() {
    let (router, pool, psp) = service().await;
    psp.capture("pay_1");
    for is_replay in [false, true] {
        let answer = come_back(&router).await;
        assert_eq!(
            (answer.status.as_u16(), answer.is_replay()),
            (303, is_replay)
        );
        assert_eq!(answer.header("location"), "/thanks/pay_1");
    }
    // Parameters that the payment page or a mail program adds change nothing.
    let added = visit(&router, Method::GET, "token=5d41402a&utm_source=mail").await;
    assert!(added.is_replay());
    assert_eq!(count(&pool, "shipments").await, 1);
}

#[tokio::test]
async fn while_the_payment_is_pending_a_reload_asks_again() {
    let (router, pool, psp) = service().await;
    for _ in 0..2 {
        let pending = come_back(&router).await;
        assert_eq!(
            (pending.header("location"), pending.is_replay()),
            ("/pending", false)
        );
    }
    assert_eq!(count(&pool, "shipments").await, 0);
    psp.capture("pay_1");
    assert_eq!(come_back(&router).await.header("location"), "/thanks/pay_1");
    assert_eq!(count(&pool, "shipments").await, 1);
}

#[tokio::test]
async fn reloads_and_the_webhook_at_the_same_time_ship_once() {
    let (router, pool, psp) = service().await;
    psp.capture("pay_1");
    let (a, b, c, d) = tokio::join!(
        come_back(&router),
        notify(&router, "evt_1"),
        come_back(&router),
        notify(&router, "evt_1"),
    );
    for answer in [a, c] {
        assert_eq!(answer.status, 303);
        assert_eq!(answer.header("location"), "/thanks/pay_1");
    }
    assert!([b.status, d.status].iter().all(|status| *status == 200));
    assert_eq!(count(&pool, "shipments").await, 1);
}

#[tokio::test]
async fn after_a_failure_a_reload_runs() {
    let (router, pool, psp) = service().await;
    psp.capture("pay_1");
    break_inserts(&pool, "shipments").await;
    assert_eq!(come_back(&router).await.status, 500);
    mend(&pool).await;
    let answer = come_back(&router).await;
    assert_eq!((answer.status.as_u16(), answer.is_replay()), (303, false));
    assert_eq!(count(&pool, "shipments").await, 1);
}

#[tokio::test]
async fn head_does_nothing_and_a_wrong_token_sees_nothing() {
    let (router, pool, psp) = service().await;
    psp.capture("pay_1");
    let head = visit(&router, Method::HEAD, "token=5d41402a").await;
    assert_eq!((head.status.as_u16(), head.header("location")), (200, ""));
    assert_eq!(
        visit(&router, Method::GET, "token=guessed").await.status,
        404
    );
    assert_eq!(count(&pool, "shipments").await, 0);
    assert_eq!(come_back(&router).await.status, 303);
    let guessed = visit(&router, Method::GET, "token=guessed").await;
    assert_eq!((guessed.status.as_u16(), guessed.is_replay()), (404, false));
}
