//! Every refusal of an argument of the attribute: its message, and the text that is underlined.

use super::{expand, function, refused};

const HANDLER: &str = "async fn pay(tx: &mut PgConnection, tenant: Tenant, State(app): State<App>, \
                       Json(order): Json<Order>) -> StatusCode { run(tx).await }";

fn arguments_refused(arguments: &str, expected: &[(&str, &str)]) {
    let source = format!("#[idempotent({arguments})]\n{HANDLER}");
    refused(&source, expected);
    let fallback = function(expand(&source));
    assert_eq!(fallback.sig.ident, "pay");
    assert!(fallback.sig.asyncness.is_some());
    assert!(fallback.sig.inputs.is_empty());
}

#[test]
fn ttl_and_scope_are_required() {
    let ttl = (
        "",
        r#"missing argument `ttl`; say how long a response is remembered, such as `ttl = "24h"`"#,
    );
    let scope = (
        "",
        r#"missing argument `scope`; name the owner of the keys, such as `scope = "tenant"`, or write `unscoped`"#,
    );
    arguments_refused("", &[ttl, scope]);
    arguments_refused("unscoped", &[ttl]);
    arguments_refused(r#"ttl = "24h""#, &[scope]);
}

#[test]
fn a_scope_contradicts_unscoped() {
    arguments_refused(
        r#"ttl = "24h", unscoped, scope = "tenant""#,
        &[(
            "unscoped",
            "`unscoped` contradicts `scope`; remove one of the two",
        )],
    );
}

#[test]
fn a_scope_names_an_extracted_argument() {
    for (scope, message) in [
        (
            "tennant",
            "no argument named `tennant`; did you mean `tenant`?",
        ),
        (
            "user",
            "no argument named `user`; expected one of `tenant`, `app` or `order`",
        ),
        (
            "user.id",
            "no argument named `user`; expected one of `tenant`, `app` or `order`",
        ),
        (
            "tx",
            "`tx` is the transaction and can't be the scope; expected one of `tenant`, `app` or `order`",
        ),
    ] {
        arguments_refused(
            &format!("ttl = \"24h\", scope = {scope:?}"),
            &[(&format!("{scope:?}"), message)],
        );
    }
    refused(
        r#"#[idempotent(ttl = "24h", scope = "attempt")]
        async fn pay(tx: &mut PgConnection, attempt: &Attempt, tenant: Tenant) {}"#,
        &[(
            "\"attempt\"",
            "`attempt` is the attempt and can't be the scope; expected `tenant`",
        )],
    );
    refused(
        r#"#[idempotent(ttl = "24h", scope = "tenant")] async fn pay(tx: &mut PgConnection, _: Tenant) {}"#,
        &[(
            "\"tenant\"",
            "no argument named `tenant`; the handler extracts no argument that has a name",
        )],
    );
}

#[test]
fn a_scope_is_an_argument_or_a_field_of_one() {
    for scope in [
        "",
        "tenant.",
        ".id",
        "tenant.id()",
        "tenant id",
        "&tenant",
        "self",
        "_",
        "0",
        "tenant.4294967296",
        "tenant.0x1",
        "tenant..id",
    ] {
        let message = format!(
            r#"invalid scope {scope:?}; name an argument or a field of one, such as `scope = "tenant"`"#
        );
        arguments_refused(
            &format!("ttl = \"24h\", scope = {scope:?}"),
            &[(&format!("{scope:?}"), &message)],
        );
    }
}

#[test]
fn a_key_is_a_word_or_an_argument_or_in_headers() {
    for (key, underlined, message) in [
        (
            r#""optionl""#,
            r#""optionl""#,
            r#"unknown value "optionl" for `key`; did you mean "optional"?"#,
        ),
        (
            r#""ordre.id""#,
            r#""ordre.id""#,
            "no argument named `ordre`; did you mean `order`?",
        ),
        (
            r#""tx""#,
            r#""tx""#,
            "`tx` is the transaction and can't be the key; expected one of `tenant`, `app` or `order`",
        ),
        (
            r#""order.""#,
            r#""order.""#,
            r#"invalid key "order."; name an argument or a field of one, such as `key = "form.idempotency_key"`"#,
        ),
        (
            r#""X-Key""#,
            r#""X-Key""#,
            r#""X-Key" is not an argument; a header is written `key = header("X-Key")`"#,
        ),
        (
            "order.id",
            "order.id",
            r#"expected a string; write `key = "order.id"`"#,
        ),
        (
            "optional",
            "optional",
            r#"expected a string; write `key = "optional"`"#,
        ),
        (
            "header",
            "header",
            r#"expected a string or headers, such as `key = "form.idempotency_key"` or `key = header("webhook-id")`"#,
        ),
        (
            r#"headers("x-key")"#,
            "headers",
            "unknown `headers` for `key`; did you mean `header`?",
        ),
        (
            "header()",
            "header()",
            r#"expected names as strings, such as `key = header("webhook-id", "svix-id")`"#,
        ),
        (
            "header(x_key)",
            "header(x_key)",
            r#"expected names as strings, such as `key = header("webhook-id", "svix-id")`"#,
        ),
        (
            r#"header("x key")"#,
            r#""x key""#,
            r#"invalid header "x key": ' ' is not allowed"#,
        ),
        (
            r#"header("")"#,
            r#""""#,
            r#"invalid header "": it is empty"#,
        ),
        (
            r#"header("x-key", "X-Key")"#,
            r#""X-Key""#,
            r#"duplicate header "x-key"; remove one of the two"#,
        ),
        (
            r#"header("a", "b", "c", "d", "e", "f", "g", "h", "i")"#,
            r#""i""#,
            "more than 8 headers; remove this one",
        ),
        (
            r#"optional(optional("order.id"))"#,
            r#"optional("order.id")"#,
            "duplicate `optional`; remove one of the two",
        ),
        (
            r#"optional(header("x key"))"#,
            r#""x key""#,
            r#"invalid header "x key": ' ' is not allowed"#,
        ),
    ] {
        arguments_refused(
            &format!("ttl = \"24h\", unscoped, key = {key}"),
            &[(underlined, message)],
        );
    }
    let long = format!("{:?}", "x".repeat(65));
    arguments_refused(
        &format!("ttl = \"24h\", unscoped, key = header({long})"),
        &[(
            &long,
            &format!("invalid header {long}: it has 65 characters, and 64 are allowed"),
        )],
    );
}

#[test]
fn what_is_bound_besides_the_body_is_chosen_by_names() {
    for (arguments, underlined, message) in [
        (
            r#"query = "sortde""#,
            r#""sortde""#,
            r#"unknown value "sortde" for `query`; did you mean "sorted"?"#,
        ),
        (
            "query = sorted",
            "sorted",
            r#"expected "exact", "sorted" or "none", or parameters to leave out, such as `query = except("utm_source")`"#,
        ),
        (
            r#"query = except("a=1")"#,
            r#""a=1""#,
            r#"invalid parameter "a=1"; write its name, as in `query = except("utm_source")`"#,
        ),
        (
            "query = except()",
            "except()",
            r#"expected names as strings, such as `query = except("utm_source")`"#,
        ),
        (
            r#"query = "sorted", fingerprint = "none""#,
            r#""sorted""#,
            r#"`query` contradicts `fingerprint = "none"`; remove one of the two"#,
        ),
        (
            r#"bind = "If-Match""#,
            r#""If-Match""#,
            r#"expected headers; write `bind = header("if-match")`"#,
        ),
        (
            "bind = if_match",
            "if_match",
            r#"expected headers, such as `bind = header("if-match")`"#,
        ),
        (
            r#"record = "_flash""#,
            r#""_flash""#,
            r#"unknown value "_flash" for `record`; a cookie is written `record = cookie("_flash")`"#,
        ),
        (
            r#"record = header("etag")"#,
            r#"header("etag")"#,
            r#"expected "head" or cookies, such as `record = cookie("_flash")`"#,
        ),
        (
            r#"record = "heads""#,
            r#""heads""#,
            r#"unknown value "heads" for `record`; did you mean "head"?"#,
        ),
        (
            r#"record = cookie("a;b")"#,
            r#""a;b""#,
            r#"invalid cookie "a;b": ';' is not allowed"#,
        ),
        (
            r#"record = cookie("a", "A", "a")"#,
            r#""a""#,
            r#"duplicate cookie "a"; remove one of the two"#,
        ),
    ] {
        arguments_refused(
            &format!("ttl = \"24h\", unscoped, {arguments}"),
            &[(underlined, message)],
        );
    }
}

#[test]
fn an_early_answer_comes_before_the_deadline() {
    for (option, message) in [
        (
            r#"respond_within = "30s""#,
            r#"`respond_within`, "30s", is not less than the deadline, "30s" by default; shorten `respond_within`, or lengthen `deadline`"#,
        ),
        (
            r#"deadline = "5s", respond_within = "5s""#,
            r#"`respond_within`, "5s", is not less than the deadline, "5s"; shorten `respond_within`, or lengthen `deadline`"#,
        ),
    ] {
        let at = option.rsplit_once(" = ").map_or(option, |(_, value)| value);
        let arguments = format!(r#"ttl = "24h", unscoped, {option}"#);
        arguments_refused(&arguments, &[(at, message)]);
    }
}

#[test]
fn durations_have_units_and_bounds() {
    arguments_refused(
        r#"ttl = "24", wait = "1 s", deadline = "0s", unscoped"#,
        &[
            (
                r#""24""#,
                r#"invalid duration "24": missing unit; use `s`, `m`, `h` or `d`, such as "24h""#,
            ),
            (
                r#""1 s""#,
                r#"invalid duration "1 s": space before the unit; write them together, such as "24h""#,
            ),
            (
                r#""0s""#,
                r#"invalid duration "0s": it must be more than zero"#,
            ),
        ],
    );
    arguments_refused(
        r#"ttl = "366d", unscoped"#,
        &[(
            r#""366d""#,
            r#"invalid duration "366d": more than one year; use at most "365d""#,
        )],
    );
}

#[test]
fn sizes_have_a_unit_and_a_bound() {
    arguments_refused(
        r#"ttl = "24h", unscoped, response_limit = "4MB""#,
        &[(
            r#""4MB""#,
            r#"invalid size "4MB": unknown unit `MB`; use `B`, `KiB` or `MiB`"#,
        )],
    );
    arguments_refused(
        r#"ttl = "24h", unscoped, response_limit = 4"#,
        &[(
            "4",
            r#"expected a string, such as `response_limit = "4MiB"`"#,
        )],
    );
}

#[test]
fn unknown_arguments_are_not_missing_as_well() {
    arguments_refused(
        r#"tll = "24h", scop = "tenant""#,
        &[
            ("tll", "unknown argument `tll`; did you mean `ttl`?"),
            ("scop", "unknown argument `scop`; did you mean `scope`?"),
        ],
    );
    arguments_refused(
        r#"ttl = "24h", unscoped, expires = Foo::<A, B>::new(1, 2)"#,
        &[(
            "expires",
            "unknown argument `expires`; expected one of `ttl`, `scope`, `unscoped`, `wait`, `respond_within`, `deadline`, `lease`, `replay`, \
             `key`, `isolation`, `fingerprint`, `body`, `query`, `bind`, `record`, `response_limit`, `operation`, `store`, `state` or `crate`",
        )],
    );
}

#[test]
fn an_argument_is_given_once() {
    arguments_refused(
        r#"ttl = "24h", unscoped, ttl = "nonsense", unscoped"#,
        &[
            ("ttl", "duplicate argument `ttl`; remove one of the two"),
            (
                "unscoped",
                "duplicate argument `unscoped`; remove one of the two",
            ),
        ],
    );
}

#[test]
fn a_value_that_has_to_be_a_string_is_one() {
    for (value, underlined) in [
        ("24", "24"),
        ("day", "day"),
        ("24h", "24h"),
        ("b\"24h\"", "b\"24h\""),
        ("concat!(\"2\", \"4h\")", "concat!(\"2\", \"4h\")"),
        ("-1", "-1"),
    ] {
        arguments_refused(
            &format!("unscoped, ttl = {value}"),
            &[(underlined, r#"expected a string, such as `ttl = "24h"`"#)],
        );
    }
    arguments_refused(
        r#"ttl = "24h", scope = tenant, replay = final, key = 1, body = order, operation = 'x'"#,
        &[
            ("tenant", r#"expected a string, such as `scope = "tenant"`"#),
            ("final", r#"expected a string, such as `replay = "final"`"#),
            (
                "1",
                r#"expected a string or headers, such as `key = "form.idempotency_key"` or `key = header("webhook-id")`"#,
            ),
            ("order", r#"expected a string, such as `body = "order"`"#),
            (
                "'x'",
                r#"expected a string, such as `operation = "create_payment"`"#,
            ),
        ],
    );
}

#[test]
fn a_value_that_has_to_be_a_type_or_a_path_is_one() {
    arguments_refused(
        r#"ttl = "24h", unscoped, store = "Billing", crate = "::idem""#,
        &[
            (
                "\"Billing\"",
                "expected a type, written without quotes, such as `store = Billing`",
            ),
            (
                "\"::idem\"",
                "expected a path, written without quotes, such as `crate = ::my_crate::idem`",
            ),
        ],
    );
    arguments_refused(
        r#"ttl = "24h", unscoped, store = 1, crate = a::<b>"#,
        &[
            ("1", "expected a type, such as `store = Billing`"),
            (
                "a::<b>",
                "expected a path, such as `crate = ::my_crate::idem`",
            ),
        ],
    );
}

#[test]
fn a_choice_is_one_of_its_words() {
    arguments_refused(
        r#"ttl = "24h", unscoped, replay = "finale", key = "maybe", fingerprint = "bdy""#,
        &[
            (
                "\"finale\"",
                r#"unknown value "finale" for `replay`; did you mean "final"?"#,
            ),
            (
                "\"maybe\"",
                "no argument named `maybe`; expected one of `tenant`, `app` or `order`",
            ),
            (
                "\"bdy\"",
                r#"unknown value "bdy" for `fingerprint`; did you mean "body"?"#,
            ),
        ],
    );
    arguments_refused(
        r#"ttl = "24h", unscoped, replay = "2xx""#,
        &[(
            "\"2xx\"",
            r#"unknown value "2xx" for `replay`; expected one of "success", "final" or "all""#,
        )],
    );
}

#[test]
fn a_fingerprint_function_is_a_path_without_quotes() {
    for (value, message) in [
        (
            r#""NewPayment::intent""#,
            r#"unknown value "NewPayment::intent" for `fingerprint`; a function is written without quotes"#,
        ),
        (
            r#""a + b""#,
            r#"unknown value "a + b" for `fingerprint`; expected one of "body", "raw" or "none""#,
        ),
        ("raw", r#"expected a string; write `fingerprint = "raw"`"#),
        (
            "|order| order",
            r#"expected "body", "raw", "none" or the path of a function, such as `fingerprint = NewPayment::intent`"#,
        ),
        (
            "3",
            r#"expected "body", "raw", "none" or the path of a function, such as `fingerprint = NewPayment::intent`"#,
        ),
    ] {
        arguments_refused(
            &format!("ttl = \"24h\", unscoped, fingerprint = {value}"),
            &[(value, message)],
        );
    }
}

#[test]
fn the_body_is_the_last_argument_and_exists() {
    arguments_refused(
        r#"ttl = "24h", unscoped, body = "tenant""#,
        &[(
            "\"tenant\"",
            "`tenant` is not the last argument; axum reads the body with the last one",
        )],
    );
    arguments_refused(
        r#"ttl = "24h", unscoped, body = "oder""#,
        &[(
            "\"oder\"",
            "no argument named `oder`; did you mean `order`?",
        )],
    );
    for fingerprint in ["NewPayment::intent", "\"raw\"", "\"body\""] {
        arguments_refused(
            &format!("ttl = \"24h\", unscoped, body = \"none\", fingerprint = {fingerprint}"),
            &[(
                fingerprint,
                r#"`fingerprint` contradicts `body = "none"`; remove one of the two"#,
            )],
        );
    }
    refused(
        r#"#[idempotent(ttl = "24h", unscoped, fingerprint = Order::intent)] async fn pay(tx: &mut PgConnection) {}"#,
        &[(
            "Order::intent",
            "`Order::intent` has no body to read; take one, such as `order: Json<Order>`",
        )],
    );
}

#[test]
fn an_operation_is_short_and_plain() {
    const REMEDY: &str = "use 1 to 100 of the characters `A-Z a-z 0-9 _ . : -`";
    let long = "x".repeat(101);
    for (operation, problem) in [
        ("", "it is empty"),
        ("create payment", "' ' is not allowed"),
        ("zahlung_größe", "'ö' is not allowed"),
        ("a/b", "'/' is not allowed"),
        (&long, "it has 101 characters"),
    ] {
        let message = format!("invalid operation {operation:?}: {problem}; {REMEDY}");
        arguments_refused(
            &format!("ttl = \"24h\", unscoped, operation = {operation:?}"),
            &[(&format!("{operation:?}"), &message)],
        );
    }
}

#[test]
fn arguments_are_separated_and_have_values() {
    arguments_refused(
        r#"ttl, scope = , unscoped = true, wait("2s"), deadline: "1s", key, "x", , store = A<B, C>"#,
        &[
            ("ttl", r#"missing value; write it as in `ttl = "24h"`"#),
            (
                "scope",
                r#"missing value; write it as in `scope = "tenant"`"#,
            ),
            (
                "unscoped",
                "`unscoped` contradicts `scope`; remove one of the two",
            ),
            ("true", "`unscoped` takes no value; write `unscoped`"),
            (r#"("2s")"#, r#"missing `=`; write it as in `wait = "2s"`"#),
            (
                r#": "1s""#,
                r#"missing `=`; write it as in `deadline = "30s"`"#,
            ),
            (
                "key",
                r#"missing value; write it as in `key = "form.idempotency_key"`"#,
            ),
            (r#""x""#, r#"expected an argument, such as `ttl = "24h"`"#),
            (",", "unexpected `,`; remove it"),
        ],
    );
    arguments_refused(
        r#"unscoped ttl = "24h" wait = "2s" + "3s""#,
        &[
            ("ttl", "missing `,` before this"),
            ("wait", "missing `,` before this"),
            ("+", "missing `,` before this"),
        ],
    );
}
