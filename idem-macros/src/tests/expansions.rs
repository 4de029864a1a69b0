//! What a handler becomes.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::ItemFn;

use super::{expand, expand_for, function, mistakes_for};
use crate::framework::{Axum, Framework};

fn expanded(source: &str) -> ItemFn {
    expanded_for::<Axum>(source)
}

pub(super) fn expanded_for<F: Framework>(source: &str) -> ItemFn {
    assert_eq!(mistakes_for::<F>(source), [], "{source}");
    let emitted = expand_for::<F>(source);
    let file: syn::File = syn::parse2(emitted.clone()).unwrap();
    assert_eq!(file.items.len(), 1, "one item comes out");
    function(emitted)
}

#[track_caller]
pub(super) fn contains(function: &ItemFn, expected: &TokenStream) {
    let compact = |tokens: TokenStream| tokens.to_string().replace(' ', "");
    let (text, expected) = (
        compact(function.to_token_stream()),
        compact(expected.clone()),
    );
    assert!(text.contains(&expected), "no {expected}\nin {text}");
}

#[test]
fn the_framework_calls_a_function_of_extractors() {
    let function = expanded(
        r#"#[idempotent(ttl = "24h", scope = "tenant")]
        pub async fn pay(tx: &mut PgConnection, Extension(mut tenant): Extension<String>, State(app): State<App>,
            Json(order): Json<Order>) -> Result<StatusCode, Error> { run(tx).await }"#,
    );
    contains(
        &function,
        &quote! {
            pub async fn pay(
                __idem_request: ::idem_axum::__private::Preflight<
                    ::idem_axum::__private::Of<PgConnection>,
                    false
                >,
                __idem_arg0: Extension<String>,
                __idem_arg1: State<App>,
                __idem_body: ::idem_axum::__private::Body<Json<Order>>,
            ) -> ::idem_axum::__private::Response
        },
    );
    contains(
        &function,
        &quote! {
            async fn pay(tx: &mut PgConnection, Extension(mut tenant): Extension<String>, State(app): State<App>,
                Json(order): Json<Order>) -> Result<StatusCode, Error> { run(tx).await }
        },
    );
    contains(
        &function,
        &quote! {
            let __idem_scope = {
                #[allow(unused_imports)]
                use ::idem_axum::__private::Behind as _;
                let Extension(__idem_whose) = &__idem_arg0;
                ::core::option::Option::Some(::idem_axum::__private::Whose(__idem_whose).scope())
            };
            let __idem_content = ::idem_axum::__private::content::<Json<Order>>(&__idem_value);
        },
    );
}

#[test]
fn the_handler_gets_its_arguments_in_its_own_order() {
    let function = expanded(
        r#"#[idempotent(ttl = "24h", unscoped)]
        async fn pay(app: State<App>, attempt: &Attempt, order: Json<Order>, tx: &mut PgConnection) {}"#,
    );
    contains(
        &function,
        &quote! {
            ::idem_axum::__private::into_response(pay(
                __idem_arg0,
                ::idem_axum::__private::attempt::<Attempt>(&__idem_attempt),
                __idem_value,
                <PgConnection as ::idem_axum::__private::Open<'_>>::lend(&mut __idem_opened)
            ).await)
        },
    );
}

#[test]
fn a_policy_holds_only_what_was_written() {
    let policy = |arguments: &str| {
        let source = format!(
            "#[idempotent(unscoped, {arguments})] async fn pay(tx: &mut PgConnection) {{}}"
        );
        let text = expanded(&source).to_token_stream().to_string();
        let (_, policy) = text
            .split_once("__IDEM_POLICY : :: idem_axum :: __private :: Policy = ")
            .unwrap();
        policy
            .split_once(" ;")
            .unwrap()
            .0
            .replace(":: idem_axum :: __private :: ", "")
            .replace(' ', "")
    };
    assert_eq!(
        policy(r#"ttl = "1d 12h""#),
        "Policy::new(Duration::from_secs(129600u64))"
    );
    assert_eq!(
        policy(
            r#"ttl = "1s", wait = "0s", deadline = "1m", replay = "all", key = "optional", isolation = "repeatable read", operation = "pay""#
        ),
        "Policy::new(Duration::from_secs(1u64)).with_wait(Duration::from_secs(0u64))\
         .with_deadline(Duration::from_secs(60u64)).with_replay(Replay::All).with_key(KeyRule::Optional)\
         .with_isolation(Isolation::RepeatableRead)\
         .with_operation(\"pay\")"
    );
}

#[test]
fn a_scope_is_read_by_reference_and_can_be_in_the_body() {
    for (scope, expected) in [
        (
            "claims",
            quote!(let Extension(__idem_whose) = &__idem_arg0;),
        ),
        (
            "claims.0.tenant_id",
            quote!(::idem_axum::__private::Whose(&__idem_whose.0.tenant_id).scope()),
        ),
        (
            "order.tenant",
            quote!(let Json(__idem_whose) = &__idem_value;),
        ),
    ] {
        let function = expanded(&format!(
            "#[idempotent(ttl = \"1s\", scope = {scope:?})]
            async fn pay(tx: &mut PgConnection, Extension(ref claims): Extension<C>, Json(mut order): Json<O>) {{}}"
        ));
        contains(&function, &expected);
    }
}

#[test]
fn what_the_key_is_bound_to_is_chosen() {
    let json = "Json(order): Json<Order>";
    for (arguments, extractors, expected) in [
        ("", json, quote!(content::<Json<Order>>(&__idem_value))),
        (
            "fingerprint = \"body\"",
            json,
            quote!(content::<Json<Order>>(&__idem_value)),
        ),
        ("fingerprint = \"raw\"", json, quote!(content_raw())),
        ("body = \"none\"", json, quote!(content_none())),
        ("", "", quote!(content_none())),
        (
            "body = \"order\"",
            json,
            quote!(content::<Json<Order>>(&__idem_value)),
        ),
        (
            "fingerprint = a::b::<C>",
            json,
            quote!(content_of(&a::b::<C>(&__idem_value))),
        ),
        (
            "fingerprint = <C as D>::e",
            json,
            quote!(content_of(&<C as D>::e(&__idem_value))),
        ),
    ] {
        let function = expanded(&format!(
            "#[idempotent(ttl = \"1s\", unscoped, {arguments})] async fn pay(tx: &mut C, {extractors}) {{}}"
        ));
        contains(&function, &expected);
    }
}

#[test]
fn generics_are_repeated_without_lifetimes() {
    let function = expanded(
        r#"#[idempotent(ttl = "1s", unscoped)]
        async fn pay<'a: 'b, 'b, C: Ledger + 'a, const N: usize>(tx: &'b mut Transaction<'a, C>, x: X<'a, '_>) -> R
        where 'a: 'b, C: for<'c> Open<'c> {}"#,
    );
    contains(
        &function,
        &quote!(async fn pay<C: Ledger + 'static, const N: usize>),
    );
    contains(
        &function,
        &quote!(::idem_axum::__private::Of<Transaction<'static, C>>),
    );
    contains(
        &function,
        &quote!(__idem_body: ::idem_axum::__private::Body<X<'static, 'static>>),
    );
    contains(
        &function,
        &quote!(where C: for<'c> Open<'c>, C: ::core::marker::Send + 'static),
    );
    contains(
        &function,
        &quote!(<Transaction<'_, C> as ::idem_axum::__private::Open<'_>>::lend),
    );
    contains(&function, &quote!(pay::<C, N>));
}

#[test]
fn a_store_can_be_named() {
    let function = expanded(
        r#"#[idempotent(ttl = "1s", unscoped, store = Billing<A, B>)] async fn pay(tx: &mut PgConnection) {}"#,
    );
    contains(
        &function,
        &quote!(__idem_request: ::idem_axum::__private::Preflight<::idem_axum::__private::Named<Billing<A, B>>, false>),
    );
    contains(
        &function,
        &quote!(::idem_axum::__private::assert_store::<Billing<A, B>, PgConnection>();),
    );
}

#[test]
fn the_adapter_can_be_anywhere() {
    let source = r#"#[idempotent(ttl = "1s", scope = "id", crate = crate::web::idem)]
        async fn pay(tx: &mut PgConnection, attempt: &Attempt, id: Path<i64>) -> StatusCode {}"#;
    let text = expanded(source).to_token_stream().to_string();
    assert!(text.contains("crate :: web :: idem :: __private :: serve"));
    assert!(!text.contains("idem_axum"));
    let text = expand(&source.replace("1s", "0s")).to_string();
    assert!(text.contains("crate :: web :: idem :: __private :: Response"));
    assert!(!text.contains("idem_axum"));
}

#[test]
fn other_attributes_stay_and_instrument_moves_to_the_handler() {
    let function = expanded(
        r#"#[idempotent(ttl = "1s", unscoped)]
        /// Pays.
        #[debug_handler]
        #[tracing::instrument(skip(tx))]
        #[deprecated]
        async fn pay(tx: &mut PgConnection) {}"#,
    );
    contains(
        &function,
        &quote!(#[doc = " Pays."] #[debug_handler] #[deprecated] #[doc = ""] #[doc = " # Idempotency"]),
    );
    contains(
        &function,
        &quote!(
            #[tracing::instrument(skip(tx))]
            async fn pay(tx: &mut PgConnection) {}
        ),
    );
}

#[test]
fn the_contract_is_documented() {
    let docs = |arguments: &str, extractors: &str| {
        let function = expanded(&format!(
            "#[idempotent({arguments})] async fn pay(tx: &mut PgConnection, {extractors}) {{}}"
        ));
        let docs = function
            .attrs
            .iter()
            .filter_map(|attribute| match &attribute.meta {
                syn::Meta::NameValue(meta) if meta.path.is_ident("doc") => {
                    Some(meta.value.to_token_stream())
                }
                _ => None,
            });
        docs.map(|line| syn::parse2::<syn::LitStr>(line).unwrap().value())
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(
        docs(r#"ttl = "24h", scope = "claims.tenant""#, "claims: Claims, order: Json<Order>"),
        "
 # Idempotency

 The writes and the response are stored once per idempotency key; a retry gets that response.

 - Key: required
 - Scope: each `claims.tenant` has its own keys
 - Operation: method and route
 - Remembered: 24h
 - Bound to the key: path, query and body
 - Replayed: statuses below 400, and 4xx but 401, 403, 408, 409, 423, 425 and 429
 - Statuses: 400 without a valid key, 409 while the first request runs, 422 for another request with the same key, \
         503 to try again"
    );
    let docs = docs(
        r#"ttl = "1d  2h", unscoped, key = "optional", replay = "success", operation = "pay", fingerprint = Order::intent"#,
        "order: Json<Order>",
    );
    for line in [
        " - Key: optional; without it the request runs unrecorded",
        " - Scope: all clients share their keys",
        " - Operation: `pay`",
        " - Remembered: 1d  2h",
        " - Bound to the key: path, query and `Order::intent` of the body",
        " - Replayed: statuses below 400",
        " - Statuses: 400 for a malformed key, 409 while the first request runs, 422 for another request with the same \
         key, 503 to try again",
    ] {
        assert!(
            docs.lines().any(|found| found == line),
            "no {line}\nin {docs}"
        );
    }
}
