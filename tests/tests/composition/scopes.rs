//! Where a scope can be found: any name that an extractor's pattern binds, and its fields.

use axum::extract::{Path, Query, State};
use axum::routing::post;
use axum::{Extension, Json, Router};
use idem_axum::idempotent;
use serde::Deserialize;
use sqlx::SqliteConnection;

use crate::service::{App, Order, Service, Tenant};

#[idempotent(ttl = "24h", scope = "tenant")]
async fn argument(_: &mut SqliteConnection, tenant: Tenant) -> String {
    tenant.name
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn in_an_extractor(_: &mut SqliteConnection, Extension(tenant): Extension<Tenant>) -> String {
    tenant.name
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn mutable(_: &mut SqliteConnection, Extension(mut tenant): Extension<Tenant>) -> String {
    tenant.name.push('!');
    tenant.name
}

/// An argument that only the scope reads is not unused.
#[idempotent(ttl = "24h", scope = "tenant")]
#[deny(unused, clippy::pedantic)]
async fn only_for_the_scope(tx: &mut SqliteConnection, tenant: Tenant) -> String {
    use sqlx::Row as _;
    let row = sqlx::query("SELECT 'done'").fetch_one(tx);
    row.await.expect("a row").get(0)
}

#[idempotent(ttl = "24h", scope = "tenant.name")]
async fn field(_: &mut SqliteConnection, tenant: Tenant) -> String {
    tenant.name
}

#[idempotent(ttl = "24h", scope = "extension.0.number.1")]
async fn numbered_fields(_: &mut SqliteConnection, extension: Extension<Tenant>) -> String {
    extension.0.name
}

#[idempotent(ttl = "24h", scope = "name")]
async fn destructured(
    _: &mut SqliteConnection,
    Extension(Tenant {
        name,
        number: (_, number),
    }): Extension<Tenant>,
    Json(order): Json<Order>,
) -> String {
    format!("{name} {number} {}", order.item)
}

#[idempotent(ttl = "24h", scope = "length")]
async fn destructured_deeply(
    _: &mut SqliteConnection,
    Extension(Tenant {
        name,
        number: (.., length),
    }): Extension<Tenant>,
) -> String {
    format!("{name} {length}")
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn by_reference(
    _: &mut SqliteConnection,
    Extension(ref tenant): Extension<Tenant>,
) -> String {
    tenant.name.clone()
}

#[derive(Deserialize)]
struct Page {
    tenant: String,
    number: u32,
}

#[idempotent(ttl = "24h", scope = "page.tenant")]
async fn bound_as_a_whole(
    _: &mut SqliteConnection,
    State(_): State<App>,
    Query(page @ Page { number, .. }): Query<Page>,
) -> String {
    format!("{} {number}", page.tenant)
}

#[idempotent(ttl = "24h", scope = "tenant")]
async fn of_a_tuple(
    _: &mut SqliteConnection,
    Path((tenant, mut id)): Path<(String, u32)>,
    body: String,
) -> String {
    id += 1;
    format!("{tenant} {id} {body}")
}

#[idempotent(ttl = "24h", scope = "body")]
async fn the_body(_: &mut SqliteConnection, body: String) -> String {
    body
}

fn routes() -> Router<App> {
    Router::new()
        .route("/argument", post(argument))
        .route("/in_an_extractor", post(in_an_extractor))
        .route("/mutable", post(mutable))
        .route("/only_for_the_scope", post(only_for_the_scope))
        .route("/field", post(field))
        .route("/numbered_fields", post(numbered_fields))
        .route("/destructured", post(destructured))
        .route("/destructured_deeply", post(destructured_deeply))
        .route("/by_reference", post(by_reference))
        .route("/bound_as_a_whole", post(bound_as_a_whole))
        .route("/of_a_tuple/{tenant}/{id}", post(of_a_tuple))
        .route("/the_body", post(the_body))
}

#[tokio::test]
async fn keys_belong_to_what_is_named() {
    let service = Service::start(routes()).await;
    let body = r#"{"item": "book"}"#;
    for (path, first, second) in [
        ("/argument", "acme", "umbrella"),
        ("/in_an_extractor", "acme", "umbrella"),
        ("/mutable", "acme!", "umbrella!"),
        ("/only_for_the_scope", "done", "done"),
        ("/field", "acme", "umbrella"),
        ("/numbered_fields", "acme", "umbrella"),
        ("/destructured", "acme 4 book", "umbrella 8 book"),
        ("/destructured_deeply", "acme 4", "umbrella 8"),
        ("/by_reference", "acme", "umbrella"),
    ] {
        let [one, other] = ["acme", "umbrella"].map(Tenant::new);
        let ran = service.post_as(one.clone(), path, "1", body).await;
        ran.ran(first);
        service.post_as(other, path, "1", body).await.ran(second);
        service.post_as(one, path, "1", body).await.replays(&ran);
    }
}

#[tokio::test]
async fn keys_belong_to_a_part_of_the_address_or_the_body() {
    let service = Service::start(routes()).await;
    for (path, body, text) in [
        ("/bound_as_a_whole?tenant=a&number=1", "", "a 1"),
        ("/bound_as_a_whole?tenant=b&number=1", "", "b 1"),
        ("/of_a_tuple/a/1", "x", "a 2 x"),
        ("/of_a_tuple/b/1", "x", "b 2 x"),
        ("/the_body", "a", "a"),
        ("/the_body", "b", "b"),
    ] {
        let first = service.post(path, "1", body).await;
        first.ran(text);
        service.post(path, "1", body).await.replays(&first);
    }
}
