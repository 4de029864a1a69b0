use axum::Router;
use axum::http::Request;
use axum::http::request::Builder;
use recipes::upload::{SCHEMA, router};
use sqlx::SqlitePool;
use tempfile::TempDir;

use crate::call::{Answer, break_inserts, count, engine, mend, send};

async fn service() -> (Router, SqlitePool, TempDir) {
    let (engine, pool) = engine(SCHEMA).await;
    let folder = tempfile::tempdir().unwrap();
    (router(engine, folder.path().to_owned()), pool, folder)
}

fn request(key: &str, boundary: &str) -> Builder {
    Request::post("/photos")
        .header("authorization", "Bearer acme")
        .header("idempotency-key", key)
        .header(
            "content-type",
            format!("multipart/form-data; boundary={boundary}"),
        )
}

async fn upload(router: &Router, key: &str, boundary: &str, name: &str, photo: &str) -> Answer {
    let body = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"a.jpg\"\r\n\
         content-type: image/jpeg\r\n\r\n{photo}\r\n--{boundary}--\r\n"
    );
    send(router, request(key, boundary), body).await
}

fn files(folder: &TempDir) -> Vec<Vec<u8>> {
    let files = std::fs::read_dir(folder.path()).unwrap();
    let read = |file: std::io::Result<std::fs::DirEntry>| std::fs::read(file.unwrap().path());
    files.map(|file| read(file).unwrap()).collect()
}

#[tokio::test]
async fn a_retry_with_a_new_boundary_is_a_replay() {
    let (router, pool, folder) = service().await;
    for photo in ["small".to_owned(), "large ".repeat(100_000)] {
        let key = &photo[..5];
        let first = upload(&router, key, "one", "photo", &photo).await;
        assert_eq!((first.status.as_u16(), first.is_replay()), (201, false));
        let again = upload(&router, key, "two", "photo", &photo).await;
        assert_eq!((again.status.as_u16(), again.is_replay()), (201, true));
        assert_eq!(again.body, first.body);
        assert!(files(&folder).contains(&photo.into_bytes()));
    }
    assert_eq!(count(&pool, "photos").await, 2);
    assert_eq!(files(&folder).len(), 2);

    // The same photo by another intent: another row, the same file.
    assert_eq!(
        upload(&router, "other", "one", "photo", "small")
            .await
            .status,
        201
    );
    assert_eq!(count(&pool, "photos").await, 3);
    assert_eq!(files(&folder).len(), 2);
}

#[tokio::test]
async fn another_photo_with_the_same_key_is_refused() {
    let (router, pool, folder) = service().await;
    upload(&router, "k", "one", "photo", "1").await;
    assert!(
        upload(&router, "k", "one", "photo", "2")
            .await
            .is_key_reused()
    );
    assert_eq!(count(&pool, "photos").await, 1);
    assert_eq!(files(&folder), [b"1"]);
}

#[tokio::test]
async fn after_a_failure_the_retry_runs_and_leaves_one_file() {
    let (router, pool, folder) = service().await;
    break_inserts(&pool, "photos").await;
    assert_eq!(upload(&router, "k", "one", "photo", "1").await.status, 500);
    assert_eq!(files(&folder).len(), 1);
    mend(&pool).await;
    let retry = upload(&router, "k", "two", "photo", "1").await;
    assert_eq!((retry.status.as_u16(), retry.is_replay()), (201, false));
    assert_eq!(count(&pool, "photos").await, 1);
    assert_eq!(files(&folder).len(), 1);
}

#[tokio::test]
async fn what_is_too_large_claims_nothing_and_a_form_without_the_photo_is_final() {
    let (router, pool, folder) = service().await;
    let large = upload(&router, "k", "one", "photo", &"x".repeat((8 << 20) + 1)).await;
    assert_eq!(large.status, 413);
    assert_eq!(
        upload(&router, "k", "one", "photo", "smaller").await.status,
        201
    );
    for is_replay in [false, true] {
        let answer = upload(&router, "none", "one", "foto", "1").await;
        assert_eq!(
            (answer.status.as_u16(), answer.is_replay()),
            (422, is_replay)
        );
    }
    assert_eq!(count(&pool, "photos").await, 1);
    assert_eq!(files(&folder).len(), 1);
}
