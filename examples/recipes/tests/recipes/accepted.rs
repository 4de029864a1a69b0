use axum::Router;
use axum::http::Request;
use idem_outbox::Outbox;
use recipes::accepted::{App, SCHEMA, router, writer};

use crate::call::{Answer, break_inserts, count, engine, mend, send};

async fn app() -> App {
    let (engine, pool) = engine(SCHEMA).await;
    let outbox = Outbox::new(engine.store().clone());
    outbox.migrate().await.unwrap();
    App {
        engine,
        outbox,
        pool,
    }
}

async fn order(router: &Router) -> Answer {
    let request = Request::post("/reports")
        .header("authorization", "Bearer acme")
        .header("idempotency-key", "k")
        .header("content-type", "application/json");
    send(router, request, r#"{"month":"2026-10"}"#).await
}

async fn ask(router: &Router, tenant: &str, location: &str) -> Answer {
    let request = Request::get(location).header("authorization", format!("Bearer {tenant}"));
    send(router, request, "").await
}

#[tokio::test]
async fn an_accepted_report_is_written_once() {
    let app = app().await;
    let router = router(app.clone());
    let (first, again) = (order(&router).await, order(&router).await);
    assert_eq!((first.status.as_u16(), again.is_replay()), (202, true));
    let location = first.header("location");
    assert_eq!(location, again.header("location"));
    let pending = ask(&router, "acme", location).await;
    assert_eq!(
        (pending.status.as_u16(), pending.header("retry-after")),
        (202, "2")
    );
    assert_eq!(ask(&router, "globex", location).await.status, 404);

    assert_eq!(writer(app.clone()).run_once().await.unwrap().published, 1);
    let written = ask(&router, "acme", location).await;
    assert_eq!(
        (written.status.as_u16(), &*written.body),
        (200, "sales of 2026-10")
    );
}

/// The writer dies between its commit and the deletion of the message.
#[tokio::test]
async fn a_message_that_comes_again_writes_nothing() {
    let app = app().await;
    order(&router(app.clone())).await;
    sqlx::raw_sql(
        "CREATE TRIGGER kept BEFORE DELETE ON idem_outbox BEGIN SELECT RAISE(ABORT, 'dies'); END",
    )
    .execute(&app.pool)
    .await
    .unwrap();
    writer(app.clone()).run_once().await.unwrap_err();
    sqlx::raw_sql("DROP TRIGGER kept; UPDATE idem_outbox SET due_at = 0")
        .execute(&app.pool)
        .await
        .unwrap();
    assert_eq!(writer(app.clone()).run_once().await.unwrap().published, 1);
    let writes: i64 = sqlx::query_scalar("SELECT sum(writes) FROM reports")
        .fetch_one(&app.pool)
        .await
        .unwrap();
    assert_eq!(writes, 1);
}

#[tokio::test]
async fn an_order_without_its_message_is_not_accepted() {
    let app = app().await;
    let router = router(app.clone());
    break_inserts(&app.pool, "idem_outbox").await;
    assert_eq!(order(&router).await.status, 500);
    assert_eq!(count(&app.pool, "reports").await, 0);
    mend(&app.pool).await;
    assert_eq!(order(&router).await.status, 202);
}
