//! `#[utoipa::path]` below the attribute.

use proc_macro2::TokenStream;
use quote::quote;

use super::split;
use crate::framework::{Actix, Axum, Consume, Framework};

/// The function with its attributes in their new order.
fn reordered<F: Framework>(source: &str) -> Option<TokenStream> {
    let (arguments, item) = split(source);
    let (_, function, handler) = crate::read::<F>(arguments.clone(), &item);
    let (function, handler) = (function.unwrap(), handler.unwrap());
    crate::openapi::reorder::<F>(&arguments, &function, &handler)
}

fn check<F: Framework>(source: &str, expected: TokenStream) {
    let format = |tokens| prettyplease::unparse(&syn::parse2(tokens).unwrap());
    let found = reordered::<F>(source).unwrap();
    assert_eq!(format(found), format(expected));
}

#[test]
fn utoipa_sees_the_handler_as_written_with_the_contract() {
    check::<Axum>(
        r#"
        #[idempotent(ttl = "24h", scope = "tenant", replay = "success")]
        /// Pays.
        #[utoipa::path(post, path = "/payments", responses((status = 201)))]
        #[axum::debug_handler]
        async fn pay(tx: &mut PgConnection, tenant: Tenant, Json(payment): Json<Payment>) {}
        "#,
        quote! {
            #[utoipa::path(
                extensions(("x-idempotency" = json!(::idem_axum::__private::published(
                    &::idem_axum::__private::Policy::new(::idem_axum::__private::Duration::from_secs(86400u64))
                        .with_replay(::idem_axum::__private::Replay::Success),
                    ::idem_axum::__private::KeyPlace::Headers(&[]),
                    true,
                    true,
                    true
                )))),
                post,
                path = "/payments",
                responses((status = 201))
            )]
            #[::idem_axum::idempotent(ttl = "24h", scope = "tenant", replay = "success")]
            /// Pays.
            #[axum::debug_handler]
            async fn pay(tx: &mut PgConnection, tenant: Tenant, Json(payment): Json<Payment>) {}
        },
    );
}

#[test]
fn an_extension_and_a_condition_of_the_user_are_kept() {
    check::<Actix>(
        r#"
        #[idempotent(ttl = "24h", unscoped, key = optional("form.id"), fingerprint = "none", crate = own::idem)]
        #[cfg_attr(feature = "openapi", ::utoipa::path(extensions(("x-own" = json!(1)))), inline)]
        #[post("/payments")]
        async fn pay(tx: &mut PgConnection, form: Form<Payment>) {}
        "#,
        quote! {
            #[cfg_attr(feature = "openapi", ::utoipa::path(
                extensions(
                    ("x-idempotency" = json!(own::idem::__private::published(
                        &own::idem::__private::Policy::new(own::idem::__private::Duration::from_secs(86400u64))
                            .with_replay(own::idem::__private::Replay::Success)
                            .with_target(own::idem::__private::BoundTarget::Nothing),
                        own::idem::__private::KeyPlace::Field("id"),
                        false,
                        false,
                        false
                    ))),
                    ("x-own" = json!(1))
                )
            ))]
            #[own::idem::idempotent(ttl = "24h", unscoped, key = optional("form.id"), fingerprint = "none", crate = own::idem)]
            #[cfg_attr(feature = "openapi", inline)]
            #[post("/payments")]
            async fn pay(tx: &mut PgConnection, form: Form<Payment>) {}
        },
    );
}

#[test]
fn a_path_without_arguments_gets_them() {
    let function = reordered::<Actix>(
        r#"
        #[idempotent(ttl = "24h", unscoped)]
        #[utoipa::path]
        #[post("/payments")]
        async fn pay(tx: &mut PgConnection) {}
        "#,
    );
    let tokens = function.unwrap().to_string();
    assert!(
        tokens.starts_with("# [utoipa :: path (extensions ((\"x-idempotency\" ="),
        "{tokens}"
    );
}

#[test]
fn there_is_nothing_to_reorder_without_it() {
    let handler = r#"
        #[idempotent(ttl = "24h", unscoped)]
        #[path = "utoipa"]
        async fn pay(tx: &mut PgConnection) {}
    "#;
    assert!(reordered::<Axum>(handler).is_none());
    let consumer = r#"
        #[idempotent(ttl = "24h", unscoped, key = "id", operation = "pay")]
        #[utoipa::path(post)]
        async fn pay(tx: &mut PgConnection, id: Id) {}
    "#;
    assert!(reordered::<Consume>(consumer).is_none());
}
