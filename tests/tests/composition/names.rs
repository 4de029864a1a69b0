//! Handlers where names mean something else, or come from somewhere else.

use axum::Router;
use axum::extract::Path;
use axum::routing::post;
use idem_axum::idempotent;
use sqlx::SqliteConnection;

use crate::service::{App, Service, Tenant, write};

mod shadowed {
    #![allow(dead_code, non_camel_case_types)]

    use super::SqliteConnection;
    use crate::service::Order;

    mod std {}
    mod core {}
    mod alloc {}
    mod axum {}
    mod idem_axum {}
    mod sqlx {}
    struct Result;
    struct Ok;
    struct Err;
    struct Option;
    struct Some;
    struct None;
    struct String;
    struct Box;
    struct Future;
    struct Send;
    struct Duration;
    struct Response;
    struct str;
    struct u64;

    #[::idem_axum::idempotent(
        ttl = "24h",
        scope = "tenant.0",
        wait = "1s",
        replay = "success",
        operation = "shadowed"
    )]
    pub(super) async fn handler(
        _: &mut SqliteConnection,
        attempt: &::idem_axum::Attempt,
        tenant: ::axum::extract::Path<::std::string::String>,
        order: ::axum::Json<Order>,
    ) -> ::core::result::Result<::std::string::String, ::std::string::String> {
        ::core::result::Result::Ok(::std::format!(
            "{} {} {}",
            tenant.0,
            order.item,
            attempt.number()
        ))
    }
}

#[no_implicit_prelude]
mod without_a_prelude {
    use ::axum::extract::Path;
    use ::idem_axum::{Attempt, idempotent};
    use ::sqlx::SqliteConnection;
    use ::std::string::String;

    #[idempotent(ttl = "24h", scope = "tenant", key = "optional", fingerprint = length)]
    pub(super) async fn handler(
        _: &mut SqliteConnection,
        attempt: &Attempt,
        Path(tenant): Path<String>,
        body: String,
    ) -> String {
        ::std::format!("{tenant} {} {body}", attempt.number())
    }

    fn length(body: &str) -> usize {
        body.len()
    }
}

mod renamed {
    pub(crate) mod web {
        pub(crate) use idem_axum as idem;
    }
}

/// Through a re-export; nothing here says `idem_axum`.
mod re_exported {
    mod idem_axum {}

    use axum::extract::Path;
    use sqlx::SqliteConnection;

    use super::renamed::web::idem as protected;

    #[protected::idempotent(ttl = "24h", scope = "tenant", crate = crate::names::renamed::web::idem)]
    pub(super) async fn handler(
        _: &mut SqliteConnection,
        attempt: &protected::Attempt,
        Path(tenant): Path<String>,
    ) -> String {
        format!("{tenant} {}", attempt.number())
    }
}

macro_rules! handlers {
    ($($name:ident($tx:ident: $connection:ty, $argument:ident: $type:ty) $ttl:literal $scope:literal $body:expr;)*) => {$(
        #[idempotent(ttl = $ttl, scope = $scope, body = "none")]
        async fn $name($tx: &mut $connection, $argument: $type) -> String {
            $body
        }
    )*};
}

handlers! {
    from_a_macro(tx: SqliteConnection, tenant: Tenant) "24h" "tenant" { let _ = tx; tenant.name };
    from_a_macro_too(_tx: sqlx::Transaction<'_, sqlx::Sqlite>, path: Path<String>) "1d 12h" "path.0" path.0;
}

/// The names that come to mind first for what the attribute generates.
#[idempotent(ttl = "24h", scope = "scope")]
async fn serve(
    claim: &mut SqliteConnection,
    attempt: &idem_axum::Attempt,
    Path(scope): Path<String>,
    body: String,
) -> String {
    let (request, response, policy, opened, raw, value, content, error) = (
        claim, attempt, "policy", "opened", "raw", "value", "content", "error",
    );
    let written = write(request, &body).await;
    drop(written);
    format!(
        "{scope} {body} {} {policy} {opened} {raw} {value} {content} {error}",
        response.number()
    )
}

#[idempotent(ttl = "24h", unscoped)]
async fn r#move(_: &mut SqliteConnection, Path(r#type): Path<String>) -> String {
    r#type
}

struct Api;

impl Api {
    #[idempotent(ttl = "24h", scope = "tenant")]
    async fn associated(_: &mut SqliteConnection, tenant: Tenant) -> String {
        tenant.name
    }
}

/// Calls itself, not what is on the router.
#[idempotent(ttl = "24h", unscoped)]
async fn recursive(tx: &mut SqliteConnection, Path(depth): Path<u8>) -> String {
    if depth > 0 {
        return Box::pin(recursive(tx, Path(depth - 1))).await;
    }
    depth.to_string()
}

fn routes() -> Router<App> {
    Router::new()
        .route("/shadowed/{tenant}", post(shadowed::handler))
        .route(
            "/without_a_prelude/{tenant}",
            post(without_a_prelude::handler),
        )
        .route("/re_exported/{tenant}", post(re_exported::handler))
        .route("/from_a_macro", post(from_a_macro))
        .route("/from_a_macro_too/{tenant}", post(from_a_macro_too))
        .route("/serve/{tenant}", post(serve))
        .route("/move/{type}", post(r#move))
        .route("/associated", post(Api::associated))
        .route("/recursive/{depth}", post(recursive))
}

#[tokio::test]
async fn names_that_mean_something_else() {
    let service = Service::start(routes()).await;
    for (path, body, text) in [
        ("/shadowed/x", r#"{"item": "book"}"#, "x book 1"),
        ("/without_a_prelude/x", "a", "x 1 a"),
        ("/re_exported/x", "", "x 1"),
        (
            "/serve/x",
            "a",
            "x a 1 policy opened raw value content error",
        ),
        ("/move/x", "", "x"),
    ] {
        let first = service.post(path, "1", body).await;
        first.ran(text);
        service.post(path, "1", body).await.replays(&first);
    }
}

#[tokio::test]
async fn handlers_out_of_a_macro_and_in_an_impl() {
    let service = Service::start(routes()).await;
    for (path, text) in [
        ("/from_a_macro", "acme"),
        ("/from_a_macro_too/x", "x"),
        ("/associated", "acme"),
        ("/recursive/2", "0"),
    ] {
        let first = service.post(path, "1", "").await;
        first.ran(text);
        service.post(path, "1", "").await.replays(&first);
    }
}
