use std::sync::Arc;

use axum::Router;
use axum::http::Request;
use recipes::arc_state::{App, SCHEMA, router, router_with_extensions};
use sqlx::SqlitePool;

use crate::call::{Answer, break_inserts, count, engine, mend, send};

async fn app() -> (Arc<App>, SqlitePool) {
    let (engine, pool) = engine(SCHEMA).await;
    let currency = "EUR".to_owned();
    (Arc::new(App { engine, currency }), pool)
}

async fn post(router: &Router, path: &str) -> Answer {
    let request = Request::post(path)
        .header("authorization", "Bearer acme")
        .header("idempotency-key", "k")
        .header("content-type", "application/json");
    send(router, request, r#"{"cents":500}"#).await
}

async fn runs_once(router: Router, path: &str, pool: SqlitePool) {
    break_inserts(&pool, "invoices").await;
    assert_eq!(post(&router, path).await.status, 500);
    mend(&pool).await;
    for is_replay in [false, true] {
        let answer = post(&router, path).await;
        assert_eq!(
            (answer.status.as_u16(), answer.is_replay()),
            (201, is_replay)
        );
    }
    assert_eq!(
        count(&pool, "invoices WHERE tenant = 'acme' AND currency = 'EUR'").await,
        1
    );
}

#[tokio::test]
async fn the_engine_is_found_in_an_arc() {
    let (app, pool) = app().await;
    runs_once(router(app), "/invoices", pool).await;
}

#[tokio::test]
async fn the_engine_is_found_in_an_extension() {
    let (app, pool) = app().await;
    runs_once(router_with_extensions(app), "/drafts", pool).await;
}
