//! Every refusal of a function: its message, and the text that is underlined.

use super::{expand, function, refused};

fn handler_refused(handler: &str, expected: &[(&str, &str)]) {
    refused(
        &format!("#[idempotent(ttl = \"24h\", unscoped)]\n{handler}"),
        expected,
    );
}

#[test]
fn the_attribute_goes_on_an_async_function() {
    handler_refused(
        "struct Pay;",
        &[(
            "struct",
            "not a function; `#[idempotent]` goes on an `async fn`",
        )],
    );
    handler_refused(
        "/// Pays.\n#[must_use]\nimpl Pay {}",
        &[(
            "impl",
            "not a function; `#[idempotent]` goes on an `async fn`",
        )],
    );
    handler_refused(
        "async fn pay(tx: &mut PgConnection);",
        &[(
            "async",
            "the function has no body; `#[idempotent]` goes on an `async fn`",
        )],
    );
    let source = "fn pay(tx: &mut PgConnection) { run().await }";
    handler_refused(
        source,
        &[(
            "fn",
            "the `async` keyword is missing; `#[idempotent]` goes on an `async fn`",
        )],
    );
    let fallback = function(expand(&format!("#[idempotent]\n{source}")));
    assert!(fallback.sig.asyncness.is_some());
}

#[test]
fn the_function_is_a_free_and_plain_one() {
    let problem = "a handler can't have `self`; `#[idempotent]` goes on a free function, which takes shared values by extractors";
    for receiver in ["self", "&self", "&mut self", "mut self: Box<Self>"] {
        let source = format!("async fn pay({receiver}, tx: &mut PgConnection) {{}}");
        handler_refused(&source, &[("self", problem)]);
    }
    handler_refused(
        "async unsafe extern \"C\" fn pay(tx: &mut PgConnection, mut rest: ...) {}",
        &[
            ("unsafe", "a handler can't be `unsafe`; remove it"),
            ("extern \"C\"", "a handler can't be `extern`; remove it"),
            ("...", "a handler can't be variadic; remove `...`"),
        ],
    );
    handler_refused(
        "const async fn pay(tx: &mut PgConnection) {}",
        &[("const", "a handler can't be `const`; remove it")],
    );
}

#[test]
fn a_handler_does_not_use_the_self_type() {
    let problem = "a handler can't use `Self`; write the type's name";
    handler_refused(
        "async fn pay(tx: &mut PgConnection, a: Json<Self>) -> Self::Out { impl A { fn b() -> Self { A } } Self::pay(tx).await }",
        &[("Self", problem), ("Self", problem), ("Self", problem)],
    );
}

#[test]
fn there_is_one_transaction_and_at_most_one_attempt() {
    let missing = "no transaction argument; take one by `&mut`, such as `tx: &mut PgConnection`";
    handler_refused("async fn pay() {}", &[("()", missing)]);
    handler_refused(
        "async fn pay(tx: PgConnection) {}",
        &[("(tx: PgConnection)", missing)],
    );
    handler_refused(
        "async fn pay(a: &mut PgConnection, b: &'a mut PgConnection, c: &Attempt, d: &Attempt) {}",
        &[
            (
                "&'a mut",
                "second argument taken by `&mut`; a handler has one transaction",
            ),
            (
                "&",
                "second argument taken by `&`; a handler has one `&Attempt`",
            ),
        ],
    );
}

#[test]
fn the_transaction_and_the_attempt_end_with_the_request() {
    let message = "the transaction does not live as long as `'static`; write `'_`";
    handler_refused(
        "async fn pay(tx: &mut Transaction<'static, Postgres>) {}",
        &[("'static", message)],
    );
    handler_refused(
        "async fn pay(tx: &'static mut PgConnection) {}",
        &[("'static", message)],
    );
    let message = "the attempt does not live as long as `'static`; write `'_`";
    handler_refused(
        "async fn pay(tx: &mut PgConnection, attempt: &'static Attempt) {}",
        &[("'static", message)],
    );
}

#[test]
fn argument_types_have_names() {
    handler_refused(
        "async fn pay(tx: &mut impl Ledger, body: Json<impl Read + Send>) {}",
        &[
            (
                "impl Ledger",
                "`impl Trait` in an argument; name the type by a generic parameter, such as `<T: Ledger>`",
            ),
            (
                "impl Read + Send",
                "`impl Trait` in an argument; name the type by a generic parameter, such as `<T: Read + Send>`",
            ),
        ],
    );
}

#[test]
fn arguments_are_unconditional() {
    handler_refused(
        "async fn pay(tx: &mut PgConnection, #[cfg(unix)] a: A, #[cfg_attr(unix, allow(x))] b: B) {}",
        &[
            (
                "#[cfg(unix)]",
                "`#[cfg]` on an argument; put it on the whole function",
            ),
            (
                "#[cfg_attr(unix, allow(x))]",
                "`#[cfg_attr]` on an argument; put it on the whole function",
            ),
        ],
    );
}

#[test]
fn read_only_routes_and_second_attributes_are_refused() {
    handler_refused(
        "#[get(\"/\")] #[::actix_web::head(\"/\")] #[cfg_attr(unix, routes::get)] async fn pay(tx: &mut PgConnection) {}",
        &[
            (
                "get",
                "`#[get]` is read-only and needs no idempotency key; remove one of the two attributes",
            ),
            (
                "::actix_web::head",
                "`#[head]` is read-only and needs no idempotency key; remove one of the two attributes",
            ),
            (
                "routes::get",
                "`#[get]` is read-only and needs no idempotency key; remove one of the two attributes",
            ),
        ],
    );
    handler_refused(
        "#[idem_axum::idempotent(unscoped)] async fn pay(tx: &mut PgConnection) {}",
        &[(
            "idem_axum::idempotent",
            "duplicate `#[idempotent]`; remove one of the two",
        )],
    );
}

#[test]
fn all_mistakes_of_a_handler_come_at_once_in_the_order_of_the_source() {
    refused(
        r#"#[idempotent(scope = "tennant", replay = "never")]
        fn pay(self, tenant: Tenant, order: Json<impl Sized>) {}"#,
        &[
            (
                "",
                r#"missing argument `ttl`; say how long a response is remembered, such as `ttl = "24h"`"#,
            ),
            (
                "\"tennant\"",
                "no argument named `tennant`; did you mean `tenant`?",
            ),
            (
                "\"never\"",
                r#"unknown value "never" for `replay`; expected one of "success", "final" or "all""#,
            ),
            (
                "fn",
                "the `async` keyword is missing; `#[idempotent]` goes on an `async fn`",
            ),
            (
                "(self, tenant: Tenant, order: Json<impl Sized>)",
                "no transaction argument; take one by `&mut`, such as `tx: &mut PgConnection`",
            ),
            (
                "self",
                "a handler can't have `self`; `#[idempotent]` goes on a free function, which takes shared values by extractors",
            ),
            (
                "impl Sized",
                "`impl Trait` in an argument; name the type by a generic parameter, such as `<T: Sized>`",
            ),
        ],
    );
}
