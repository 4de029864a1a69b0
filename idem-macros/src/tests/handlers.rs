//! Every refusal of a function: its message, and the text that is underlined.

use super::{expand, function, mistakes, refused};

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
    let missing = "no transaction argument; take one by `&mut`, not by an alias, such as `tx: &mut PgConnection`";
    handler_refused("async fn pay() {}", &[("()", missing)]);
    let missing = "no transaction argument; take one by `&mut`, not by an alias, such as `tx: &mut SqliteConnection`";
    let arguments = "(State(pool): State<SqlitePool>)";
    handler_refused(
        &format!("async fn pay{arguments} {{}}"),
        &[(arguments, missing)],
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
fn the_transaction_is_taken_by_mut_and_the_attempt_by_a_shared_reference() {
    for (argument, ty, message) in [
        (
            "tx: PgConnection",
            "PgConnection",
            "the transaction is taken by `&mut`; write `&mut PgConnection`",
        ),
        (
            "mut tx: sqlx::Transaction<'_, MySql>",
            "sqlx::Transaction<'_, MySql>",
            "the transaction is taken by `&mut`; write `&mut sqlx::Transaction<'_, MySql>`",
        ),
        (
            "tx: &SqliteConnection",
            "&SqliteConnection",
            "the transaction is taken by `&mut`; write `&mut SqliteConnection`",
        ),
        (
            "tx: &PgTransaction<'_>",
            "&PgTransaction<'_>",
            "the transaction is taken by `&mut`; write `&mut PgTransaction<'_>`",
        ),
        (
            "tx: &mut PgConnection, attempt: Attempt",
            "Attempt",
            "the attempt is taken by `&`; write `attempt: &Attempt`",
        ),
        (
            "tx: &mut PgConnection, a: idem_axum::Attempt",
            "idem_axum::Attempt",
            "the attempt is taken by `&`; write `a: &Attempt`",
        ),
        (
            "tx: &mut PgConnection, attempt: &mut Attempt",
            "&mut Attempt",
            "the attempt is taken by `&`; write `&Attempt`",
        ),
    ] {
        handler_refused(&format!("async fn pay({argument}) {{}}"), &[(ty, message)]);
    }
}

#[test]
fn a_pool_is_not_a_transaction() {
    let pool = "a pool is not a transaction; take `&mut PgConnection`";
    let pooled = "a pool's connection is not in the transaction; take `&mut SqliteConnection`";
    let any = "`Any` has no store; take `&mut PgConnection`, `&mut MySqlConnection` or `&mut SqliteConnection`";
    for (ty, message) in [
        ("&mut PgPool", pool),
        ("&sqlx::Pool<Postgres>", pool),
        ("PgPool", pool),
        ("&mut PoolConnection<sqlx::Sqlite>", pooled),
        ("PoolConnection<Sqlite>", pooled),
        ("&mut AnyConnection", any),
        ("&mut Transaction<'_, Any>", any),
    ] {
        handler_refused(&format!("async fn pay(tx: {ty}) {{}}"), &[(ty, message)]);
    }
}

#[test]
fn types_of_ones_own_are_left_to_the_compiler() {
    for arguments in [
        "tx: &mut PgConnection, attempt: self::Attempt",
        "tx: &mut PgConnection, Json(transaction): Json<Transaction>",
        "tx: &mut PgConnection, transaction: Transaction",
        "tx: &mut PgConnection, pool: State<PgPool>",
        "tx: &mut Transaction<'_, Postgres>, pool: PgPool",
        "tx: &mut Pool",
        "tx: &mut Connection<Ledger>",
    ] {
        handler_refused(&format!("async fn pay({arguments}) {{}}"), &[]);
    }
}

/// Without it the compiler would report the argument as unused.
#[test]
fn an_argument_that_only_the_scope_reads_is_read() {
    let inner = |scope: &str, argument: &str, body: &str| {
        let source = format!(
            "#[idempotent(ttl = \"24h\", scope = \"{scope}\")] async fn pay(tx: &mut PgConnection, {argument}) {{ {body} }}"
        );
        expand(&source).to_string()
    };
    let read = "let _ = & tenant ;";
    for (argument, body) in [
        ("tenant: Tenant", ""),
        ("Path((tenant, user)): Path<(u32, u32)>", "run(user)"),
        ("claims: Claims, Path(tenant): Path<u32>", "run(claims)"),
    ] {
        assert!(inner("tenant", argument, body).contains(read), "{argument}");
    }
    let after_items = inner(
        "tenant.id",
        "tenant: Tenant",
        "use a::b; const C: u8 = 1; b(C)",
    );
    assert!(
        after_items.contains("const C : u8 = 1 ; let _ = & tenant ;"),
        "{after_items}"
    );
    assert!(!inner("tenant", "tenant: Tenant", "run((1, tenant))").contains("let _ ="));
    assert!(!inner("_tenant", "_tenant: Tenant", "").contains("let _ ="));
}

#[test]
fn a_response_does_not_borrow() {
    let text = "a response can't borrow; return `String`, or `&'static str` for a constant text";
    let other = "a response can't borrow; return an owned value";
    for (output, at, message) in [
        ("&str", "&str", text),
        ("&'a str", "&'a str", text),
        ("Result<&'a str, Error>", "&'a str", text),
        ("(StatusCode, Html<&'a str>)", "&'a str", text),
        ("&'a [u8]", "&'a [u8]", other),
    ] {
        handler_refused(
            &format!("async fn pay<'a>(tx: &'a mut PgConnection) -> {output} {{}}"),
            &[(at, message)],
        );
    }
    for output in [
        "&'static str",
        "Json<&'a str>",
        "impl Responder + 'a",
        "Html<&'static str>",
    ] {
        handler_refused(
            &format!("async fn pay<'a>(tx: &'a mut PgConnection) -> {output} {{}}"),
            &[],
        );
    }
}

#[test]
fn the_transaction_and_the_attempt_end_with_the_request() {
    let message = "the transaction does not live as long as `'static`; write `'_`, \
                   or take `&mut Shared<_>`, which has no lifetime";
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
    handler_refused(
        "async fn pay(tx: &mut PgConnection, body: Json<impl Into<String> + 'static>) {}",
        &[(
            "impl Into<String> + 'static",
            "`impl Trait` in an argument; name the type by a generic parameter, such as `<T: Into<String> + 'static>`",
        )],
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
                "`#[get]` is read-only and needs no idempotency key; remove one of the two attributes, or take the key from an argument, as in `key = \"path.order_id\"`",
            ),
            (
                "::actix_web::head",
                "`#[head]` is read-only and needs no idempotency key; remove one of the two attributes",
            ),
            (
                "routes::get",
                "`#[get]` is read-only and needs no idempotency key; remove one of the two attributes, or take the key from an argument, as in `key = \"path.order_id\"`",
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
                "no transaction argument; take one by `&mut`, not by an alias, such as `tx: &mut PgConnection`",
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

#[test]
fn a_get_is_fine_with_its_key_in_an_argument_and_a_head_never_is() {
    let handler = "#[get(\"/{id}\")] async fn pay(tx: &mut PgConnection, id: Path<Uuid>) {}";
    let source = |key: &str, handler: &str| {
        format!("#[idempotent(ttl = \"24h\", unscoped, key = {key})]\n{handler}")
    };
    for key in ["\"id\"", "optional(\"id\")"] {
        assert_eq!(mistakes(&source(key, handler)), []);
        assert_eq!(
            mistakes(&source(key, &handler.replace("get", "head"))).len(),
            1
        );
    }
    assert_eq!(mistakes(&source("header(\"x-id\")", handler)).len(), 1);
}

#[test]
fn an_authorization_attribute_is_not_above() {
    handler_refused(
        "async fn pay(_auth_details_2: AuthDetails<String>, tx: &mut PgConnection, order: Json<Order>) {}",
        &[(
            "_auth_details_2",
            "above `#[idempotent]` this attribute checks first requests only, and no replays; move it below `#[idempotent]`",
        )],
    );
}
