use axum::Router;
use axum::http::Request;
use recipes::precondition::{SCHEMA, router};
use sqlx::SqlitePool;

use crate::call::{Answer, engine, send};

async fn patch(router: &Router, path: &str, key: &str, etag: Option<&str>, title: &str) -> Answer {
    let mut request = Request::patch(path)
        .header("authorization", "Bearer acme")
        .header("idempotency-key", key)
        .header("content-type", "application/json");
    if let Some(etag) = etag {
        request = request.header("if-match", etag);
    }
    send(router, request, format!(r#"{{"title":"{title}"}}"#)).await
}

async fn document(pool: &SqlitePool) -> (String, i64) {
    let document = sqlx::query_as("SELECT title, version FROM documents");
    document.fetch_one(pool).await.unwrap()
}

#[tokio::test]
async fn a_retry_has_the_etag_of_the_change() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    let first = patch(&router, "/documents/1", "k", Some("\"1\""), "Final").await;
    assert_eq!(
        (first.status.as_u16(), first.header("etag")),
        (200, "\"2\"")
    );
    // Without the key this would be a 412, for the client's own change.
    let again = patch(&router, "/documents/1", "k", Some("\"1\""), "Final").await;
    assert_eq!(
        (again.status.as_u16(), again.header("etag")),
        (200, "\"2\"")
    );
    assert!(again.is_replay());
    // A client that read the document after the lost answer gets the same.
    let reread = patch(&router, "/documents/1", "k", Some("\"2\""), "Final").await;
    assert!(reread.is_replay());
    assert_eq!(document(&pool).await, ("Final".to_owned(), 2));
}

#[tokio::test]
async fn after_a_412_the_same_key_runs_with_the_version_that_is_current() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    for _ in 0..2 {
        let stale = patch(&router, "/documents/1", "k", Some("\"0\""), "Final").await;
        assert_eq!((stale.status.as_u16(), stale.is_replay()), (412, false));
    }
    // Another change under the key is another intent.
    let merged = patch(&router, "/documents/1", "k", Some("\"1\""), "Merged").await;
    assert!(merged.is_key_reused());
    let current = patch(&router, "/documents/1", "k", Some("\"1\""), "Final").await;
    assert_eq!((current.status.as_u16(), current.is_replay()), (200, false));
    assert_eq!(document(&pool).await, ("Final".to_owned(), 2));
}

#[tokio::test]
async fn of_two_changes_of_one_version_the_second_is_refused() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    let (a, b) = tokio::join!(
        patch(&router, "/documents/1", "a", Some("\"1\""), "A"),
        patch(&router, "/documents/1", "b", Some("\"1\""), "B"),
    );
    let mut statuses = [a.status.as_u16(), b.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    assert_eq!(document(&pool).await.1, 2);
}

#[tokio::test]
async fn without_if_match_nothing_is_claimed() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    let without = patch(&router, "/documents/1", "k", None, "Final").await;
    assert_eq!(without.status, 428);
    let other = patch(&router, "/documents/1", "k", Some("\"1\""), "Other").await;
    assert_eq!(other.status, 200);
    assert_eq!(document(&pool).await, ("Other".to_owned(), 2));
}

#[tokio::test]
async fn a_bound_header_asks_for_a_new_key_after_a_412() {
    let (engine, pool) = engine(SCHEMA).await;
    let router = router(engine);
    for _ in 0..2 {
        let stale = patch(&router, "/bound/1", "k", Some("\"0\""), "Final").await;
        assert_eq!((stale.status.as_u16(), stale.is_replay()), (412, false));
    }
    let corrected = patch(&router, "/bound/1", "k", Some("\"1\""), "Final").await;
    assert!(corrected.is_key_reused());
    let new_key = patch(&router, "/bound/1", "new", Some("\"1\""), "Final").await;
    assert_eq!(new_key.status, 204);
    assert_eq!(document(&pool).await, ("Final".to_owned(), 2));
}
