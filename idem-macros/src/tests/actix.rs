//! What a handler becomes on actix-web, where that is something else than on axum.

use quote::quote;
use syn::ItemFn;

use super::expansions::{contains, expanded_for};
use super::mistakes_for;
use crate::framework::Actix;

fn expanded(arguments: &str, extractors: &str) -> ItemFn {
    expanded_for::<Actix>(&format!(
        "#[idempotent(ttl = \"1s\", unscoped, {arguments})]
        async fn pay(tx: &mut C, {extractors}) -> String {{}}"
    ))
}

const ORDER: &str = "path: Path<u32>, Json(order): Json<Order>";

#[test]
fn the_framework_calls_a_function_of_one_argument() {
    let function = expanded("", ORDER);
    contains(
        &function,
        &quote! {
            async fn pay(
                __idem_extracted: ::idem_actix::__private::Extracted<
                    ::idem_actix::__private::Preflight<::idem_actix::__private::Of<C>, false>,
                    (Path<u32>, Json<Order>,)
                >
            ) -> ::idem_actix::__private::Response
        },
    );
    contains(
        &function,
        &quote! {
            let ::idem_actix::__private::Extracted {
                request: __idem_request,
                arguments: (__idem_arg0, __idem_arg1,),
                raw: __idem_raw,
                http: __idem_http,
            } = __idem_extracted;
        },
    );
    contains(
        &function,
        &quote!(
            pay(
                <C as ::idem_actix::__private::Open<'_>>::lend(&mut __idem_opened),
                __idem_arg0,
                __idem_arg1
            )
            .await,
            &__idem_http
        ),
    );
}

#[test]
fn the_body_is_found_by_the_types() {
    let function = expanded("", ORDER);
    contains(
        &function,
        &quote! {
            const __IDEM_ROLES: [::idem_actix::__private::Role; 2usize] = {
                use ::idem_actix::__private::{NotBody as _, NotPart as _};
                ::idem_actix::__private::roles([
                    (
                        ::idem_actix::__private::Probe::<Path<u32>>::IS_BODY,
                        ::idem_actix::__private::Probe::<Path<u32>>::IS_PART,
                    ),
                    (
                        ::idem_actix::__private::Probe::<Json<Order>>::IS_BODY,
                        ::idem_actix::__private::Probe::<Json<Order>>::IS_PART,
                    )
                ])
            };
            ::idem_actix::__private::check::<{ __IDEM_ROLES[0usize] as u8 }, Path<u32>>();
            ::idem_actix::__private::check::<{ __IDEM_ROLES[1usize] as u8 }, Json<Order>>();
        },
    );
    contains(
        &function,
        &quote!(let __idem_content = ::idem_actix::__private::content::<_>(__idem_value);),
    );
}

#[test]
fn nothing_is_probed_where_nothing_has_to_be_found() {
    for (arguments, extractors, expected) in [
        ("fingerprint = \"raw\"", ORDER, quote!(content_raw())),
        ("body = \"none\"", ORDER, quote!(content_none())),
        ("", "", quote!(content_none())),
        (
            "body = \"order\"",
            ORDER,
            quote!(content::<Json<Order>>(&__idem_arg1)),
        ),
        (
            "body = \"order\", fingerprint = intent",
            ORDER,
            quote!(content_of(&intent(&__idem_arg1))),
        ),
    ] {
        let function = expanded(arguments, extractors);
        contains(&function, &expected);
        let text = quote!(#function).to_string();
        assert!(!text.contains("__IDEM_ROLES"), "{text}");
    }
}

#[test]
fn generic_handler_names_its_body_and_need_not_be_sent() {
    let source = |arguments: &str| {
        format!(
            "#[idempotent(ttl = \"1s\", unscoped, {arguments})]
            async fn pay<C: Ledger>(tx: &mut C, order: Json<Order>) -> String {{}}"
        )
    };
    let function = expanded_for::<Actix>(&source("body = \"order\""));
    contains(&function, &quote!(where C: 'static));
    let mistakes = mistakes_for::<Actix>(&source(""));
    let message = r#"a generic handler has to name its body; add `body = "order"` with the argument's name, or `body = "none"`"#;
    assert_eq!(mistakes, [("C".to_owned(), message.to_owned())]);
}
