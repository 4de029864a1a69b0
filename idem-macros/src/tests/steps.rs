//! Every refusal of a lease and of a step's name: its message, and the text that is underlined.

use super::{mistakes, refused};

const NO_LEASE: &str =
    r#"a handler with steps holds its key by a lease; add `lease = "10s"` to the attribute"#;
const NO_LITERAL: &str =
    r#"a step is named by a literal, such as `"charge"`, or `("charge", id)` in a loop"#;

fn lease(options: &str, ty: &str) -> String {
    format!("#[idempotent(ttl = \"24h\", unscoped, {options})] async fn pay(steps: &mut {ty}) {{}}")
}

/// A handler with these statements.
fn handler(body: &str) -> String {
    format!(
        "#[idempotent(ttl = \"24h\", unscoped, lease = \"10s\")]\n\
         async fn pay(steps: &mut Steps<PgConnection>) {{\n{body}\n}}"
    )
}

#[track_caller]
fn body_refused(body: &str, expected: &[(&str, &str)]) {
    refused(&handler(body), expected);
}

#[track_caller]
fn body_accepted(body: &str) {
    assert_eq!(mistakes(&handler(body)), [], "{body}");
}

#[test]
fn steps_need_a_lease() {
    for ty in ["Steps<PgConnection>", "idem_axum::Steps<C>", "Steps"] {
        refused(&lease("", ty), &[(ty, NO_LEASE)]);
        assert_eq!(mistakes(&lease(r#"lease = "1s""#, ty)), []);
    }
    // A misspelled one is reported already.
    refused(
        &lease(r#"leese = "10s""#, "Steps<PgConnection>"),
        &[("leese", "unknown argument `leese`; did you mean `lease`?")],
    );
}

#[test]
fn a_connection_has_no_lease() {
    for (ty, connection) in [
        ("PgConnection", "PgConnection"),
        ("sqlx::MySqlConnection", "MySqlConnection"),
        ("SqliteTransaction<'_>", "SqliteConnection"),
        ("Transaction<'_, Postgres>", "PgConnection"),
        ("sqlx::Transaction<'_, DB>", "PgConnection"),
        ("Shared<SqliteConnection>", "SqliteConnection"),
    ] {
        let message = format!(
            "a handler in one transaction has no lease; remove `lease`, or take `&mut Steps<{connection}>`"
        );
        refused(&lease(r#"lease = "10s""#, ty), &[("lease", &message)]);
        assert_eq!(mistakes(&lease("", ty)), []);
    }
    // The compiler knows what these are.
    for ty in ["Tx<'_>", "Rides", "C"] {
        assert_eq!(mistakes(&lease(r#"lease = "10s""#, ty)), []);
        assert_eq!(mistakes(&lease("", ty)), []);
    }
}

#[test]
fn a_type_that_is_no_transaction_is_one_mistake() {
    refused(
        &lease(r#"lease = "10s""#, "PgPool"),
        &[(
            "&mut PgPool",
            "a pool is not a transaction; take `&mut PgConnection`",
        )],
    );
}

#[test]
fn a_lease_is_less_than_the_deadline() {
    for (options, at, message) in [
        (
            r#"lease = "0s""#,
            r#""0s""#,
            r#"invalid duration "0s": it must be more than zero"#,
        ),
        (
            r#"lease = "500ms""#,
            r#""500ms""#,
            r#"invalid duration "500ms": unknown unit `ms`; use `s`, `m`, `h` or `d`"#,
        ),
        (
            "lease = 10",
            "10",
            r#"expected a string, such as `lease = "10s"`"#,
        ),
        (
            r#"lease = "30s""#,
            r#""30s""#,
            r#"`lease`, "30s", is not less than the deadline, "30s" by default; shorten `lease`, or lengthen `deadline`"#,
        ),
        (
            r#"deadline = "1m", lease = "60s""#,
            r#""60s""#,
            r#"`lease`, "60s", is not less than the deadline, "1m"; shorten `lease`, or lengthen `deadline`"#,
        ),
        (
            r#"lease = "40s", deadline = "60""#,
            r#""60""#,
            r#"invalid duration "60": missing unit; use `s`, `m`, `h` or `d`, such as "60h""#,
        ),
    ] {
        refused(&lease(options, "Steps<PgConnection>"), &[(at, message)]);
    }
    for options in [
        r#"lease = "29s""#,
        r#"lease = "59s", deadline = "1m""#,
        r#"lease = "10s", isolation = "serializable""#,
    ] {
        assert_eq!(mistakes(&lease(options, "Steps<PgConnection>")), []);
    }
}

#[test]
fn steps_are_taken_by_mut() {
    for (argument, ty) in [
        ("steps: Steps<PgConnection>", "Steps<PgConnection>"),
        ("steps: &Steps<PgConnection>", "&Steps<PgConnection>"),
    ] {
        let source = format!(
            "#[idempotent(ttl = \"24h\", unscoped, lease = \"10s\")] async fn pay({argument}) {{}}"
        );
        let message = "the steps are taken by `&mut`; write `&mut Steps<PgConnection>`";
        refused(&source, &[(ty, message)]);
    }
    refused(
        r#"#[idempotent(ttl = "24h", unscoped, lease = "10s")]
        async fn pay(steps: &'static mut Steps<PgConnection>) {}"#,
        &[(
            "'static",
            "the argument does not live as long as `'static`; write `'_`",
        )],
    );
}

#[test]
fn a_step_s_name_has_a_form() {
    let long = "a".repeat(65);
    for (name, problem) in [
        ("", "it is empty"),
        ("Charge", "'C' is not allowed"),
        ("the charge", "' ' is not allowed"),
        ("gebühr", "'ü' is not allowed"),
        ("mail:1", "':' is not allowed"),
        (&long, "it has 65 characters"),
    ] {
        let message = format!(
            "invalid step {name:?}: {problem}; use 1 to 64 of the characters `a-z 0-9 _ . -`"
        );
        for method in ["commit", "call", "call_once"] {
            let literal = format!("{name:?}");
            let plain = format!("steps.{method}({literal}, async |_| 1).await?;");
            body_refused(&plain, &[(&literal, &message)]);
            let numbered = format!("for id in ids {{ steps.{method}(({literal}, id), f).await }}");
            body_refused(&numbered, &[(&literal, &message)]);
        }
    }
    let longest = "a".repeat(64);
    body_accepted(&format!(
        "steps.call(\"a\", f); steps.call((\"9._-\"), f); steps.call({longest:?}, f)"
    ));
}

#[test]
fn a_step_s_name_is_a_literal() {
    for name in [
        "name",
        "NAME",
        "format!(\"mail-{id}\")",
        "concat!(\"a\", \"b\")",
        "&\"mail\"",
        "b\"mail\"",
        "7",
        "(\"mail\",)",
        "(\"mail\", id, 1)",
    ] {
        body_refused(
            &format!("steps.call({name}, async |key| send(key).await).await?;"),
            &[(name, NO_LITERAL)],
        );
    }
    body_refused("steps.commit((name, id), f)", &[("name", NO_LITERAL)]);
}

#[test]
fn a_name_is_used_once() {
    let twice = r#"the step `charge` is used twice, in line 3 first; rename one of the two, or name both as in `("charge", id)`"#;
    for second in [
        "steps.call(\"charge\", f).await?;",
        "if late { let fee = { steps.commit(\"charge\", f).await? }; }",
        "match 1 { 1 => pay(steps.call_once(\"charge\", f, g).await), _ => {} }",
        "async { steps.call(\"charge\", f).await }.await;",
        "let Some(a) = a else { return steps.call(\"charge\", f).await };",
        "(steps).call((\"charge\"), f);",
    ] {
        body_refused(
            &format!("let a = steps.call(\"charge\", f).await?;\n{second}"),
            &[("\"charge\"", twice)],
        );
    }
    // Each use after the first is a mistake.
    let first = "steps.call(\"charge\", f);\n";
    body_refused(
        &first.repeat(3),
        &[("\"charge\"", twice), ("\"charge\"", twice)],
    );
}

#[test]
fn only_one_of_the_branches_runs() {
    body_accepted(
        r#"if cash { steps.call("charge", f) } else if card { steps.commit("charge", f) } else { steps.call("charge", f) }"#,
    );
    body_accepted(
        r#"match a { A if b => steps.call("charge", f).await?, B => { steps.call("charge", f).await? } C => steps.call("charge", f).await? }"#,
    );
    body_accepted(
        r#"let Some(a) = a else { return steps.call("charge", f).await }; steps.call("charge", f).await"#,
    );
    let twice = |name: &str| {
        format!(
            "the step `{name}` is used twice, in line 3 first; rename one of the two, or name both as in `({name:?}, id)`"
        )
    };
    for branches in [
        r#"if cash { steps.call("a", f) } else { steps.call("b", f) }"#,
        r#"match a { 1 => steps.call("a", f), 2 => steps.call("b", f), _ => steps.call("c", f) }"#,
        r#"if steps.call("a", f).await? { 1 } else if steps.call("b", f).await? { 2 }"#,
    ] {
        for name in ["a", "b"] {
            body_refused(
                &format!("{branches};\nsteps.call({name:?}, f)"),
                &[(&format!("{name:?}"), &twice(name))],
            );
        }
    }
    // A condition is evaluated before each of the branches.
    body_refused(
        "if steps.call(\"a\", f).await? {\n} else { steps.call(\"a\", f) }",
        &[("\"a\"", &twice("a"))],
    );
    body_refused(
        "match a { 1 if steps.call(\"a\", f).await? => 1,\n_ => steps.call(\"a\", f) }",
        &[("\"a\"", &twice("a"))],
    );
}

#[test]
fn a_step_in_a_loop_has_a_value_in_its_name() {
    let problem =
        r#"the step `mail` is in a loop, and a name is used once; name it `("mail", id)`"#;
    for body in [
        "for line in lines { steps.call(\"mail\", f).await?; }",
        "while steps.call(\"mail\", f).await? {}",
        "while late { if a { steps.commit(\"mail\", f).await? } }",
        "'a: loop { match a { _ => break 'a steps.call(\"mail\", f).await? } }",
        "for line in lines { for part in line {} steps.call(\"mail\", f) }",
    ] {
        body_refused(body, &[("\"mail\"", problem)]);
        body_accepted(&body.replace("\"mail\"", "(\"mail\", line.id)"));
    }
    body_accepted("for line in steps.call(\"mail\", f).await? {} steps.call(\"sent\", f)");
}

#[test]
fn other_calls_are_not_steps() {
    body_accepted(
        r"
        other.call(NAME, 1);
        self.steps.call(NAME, 1);
        steps.attempt(NAME);
        steps.call();
        log!(steps.call(NAME, f));
        let twice = || steps.call(NAME, f);
        fn call(steps: &mut Steps) { steps.call(NAME, f) }
        helper(steps, NAME).await
        ",
    );
    assert_eq!(
        mistakes(
            "#[idempotent(ttl = \"24h\", unscoped)] async fn pay(tx: &mut PgConnection) { tx.call(NAME, 1) }"
        ),
        []
    );
}

#[test]
fn an_alias_has_steps_if_there_is_a_lease() {
    let source = "#[idempotent(ttl = \"24h\", unscoped)] async fn pay(mut a: &mut Rides) { a.call(NAME, f) }";
    assert_eq!(mistakes(source), []);
    refused(
        &source.replace("unscoped", "unscoped, lease = \"10s\""),
        &[("NAME", NO_LITERAL)],
    );
}
