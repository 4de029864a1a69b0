use std::sync::Arc;

use axum::Router;
use axum::http::Request;
use recipes::tenant_database::{Tenants, router};
use sqlx::SqlitePool;
use tempfile::TempDir;

use crate::call::{Answer, break_inserts, count, mend, send};

async fn start() -> (Router, Arc<Tenants>, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let tenants = Tenants::open(folder.path(), &["acme", "globex"]).await;
    let tenants = Arc::new(tenants.expect("the files open"));
    (router(Arc::clone(&tenants)), tenants, folder)
}

async fn file(folder: &TempDir, name: &str) -> SqlitePool {
    let file = folder.path().join(format!("{name}.sqlite"));
    let url = format!("sqlite:{}", file.display());
    SqlitePool::connect(&url).await.expect("the file opens")
}

async fn order(router: &Router, tenant: Option<&str>, item: &str) -> Answer {
    let mut request = Request::post("/orders")
        .header("idempotency-key", "k")
        .header("content-type", "application/json");
    if let Some(tenant) = tenant {
        request = request.header("authorization", format!("Bearer {tenant}"));
    }
    send(router, request, format!(r#"{{"item":"{item}"}}"#)).await
}

#[tokio::test]
async fn one_key_of_two_tenants_is_in_two_files() {
    let (router, _tenants, folder) = start().await;
    for is_replay in [false, true] {
        for (tenant, item) in [("acme", "tea"), ("globex", "coffee")] {
            let answer = order(&router, Some(tenant), item).await;
            assert_eq!(
                (answer.status.as_u16(), answer.is_replay()),
                (201, is_replay)
            );
        }
    }
    for (tenant, item) in [("acme", "tea"), ("globex", "coffee")] {
        let file = file(&folder, tenant).await;
        let items: Vec<String> = sqlx::query_scalar("SELECT item FROM orders")
            .fetch_all(&file)
            .await
            .unwrap();
        assert_eq!(items, [item]);
        assert_eq!(count(&file, "idem_records").await, 1);
    }
}

#[tokio::test]
async fn an_unknown_tenant_is_answered_by_the_extractor() {
    let (router, _tenants, folder) = start().await;
    let unknown = order(&router, Some("initech"), "tea").await;
    assert_eq!((unknown.status.as_u16(), &*unknown.body), (404, ""));
    let nobody = order(&router, None, "tea").await;
    assert_eq!((nobody.status.as_u16(), &*nobody.body), (401, ""));
    let mut files = std::fs::read_dir(folder.path()).unwrap();
    assert!(files.all(|file| {
        let name = file.unwrap().file_name();
        !name.to_string_lossy().starts_with("initech")
    }));
}

#[tokio::test]
async fn simultaneous_duplicates_have_one_effect_and_a_failure_runs_again() {
    let (router, _tenants, folder) = start().await;
    let acme = file(&folder, "acme").await;
    break_inserts(&acme, "orders").await;
    assert_eq!(order(&router, Some("acme"), "tea").await.status, 500);
    // The other tenant's database works.
    assert_eq!(order(&router, Some("globex"), "tea").await.status, 201);
    mend(&acme).await;

    let (a, b, c) = tokio::join!(
        order(&router, Some("acme"), "tea"),
        order(&router, Some("acme"), "tea"),
        order(&router, Some("acme"), "tea"),
    );
    let answers = [a, b, c];
    assert!(answers.iter().all(|answer| answer.status == 201));
    let replays = answers.iter().filter(|answer| answer.is_replay()).count();
    assert_eq!((replays, count(&acme, "orders").await), (2, 1));
}

#[tokio::test]
async fn after_the_drain_no_tenant_is_served() {
    let (router, tenants, folder) = start().await;
    tenants.drain().await;
    for tenant in ["acme", "globex"] {
        assert_eq!(order(&router, Some(tenant), "tea").await.status, 503);
        assert_eq!(count(&file(&folder, tenant).await, "orders").await, 0);
    }
}
