//! Handlers in a scope where the names that generated code could have mean something else.

use std::fmt::Display;

use idem_macros::{idempotent_actix, idempotent_axum};

use crate::actix::__private::{Argument, Extracted};
use crate::adapter::{Attempt, CalledByTheFramework, Savepoint, Store};
use crate::axum::__private::Body;
use crate::run;

/// A pattern that consists of such a name would be compared with the constant.
mod constants {
    use super::{Attempt, Display, Savepoint, Store, idempotent_actix, idempotent_axum};

    const opened: u8 = 0;
    const error: u8 = 0;
    const closed: u8 = 0;
    const keep: u8 = 0;
    const keeps: u8 = 0;
    const response: u8 = 0;
    const request: u8 = 0;
    const content: u8 = 0;
    const scope: u8 = 0;
    const source: u8 = 0;
    const policy: u8 = 0;
    const claim: u8 = 0;
    const attempt: u8 = 0;
    const value: u8 = 0;
    const body: u8 = 0;
    const raw: u8 = 0;
    const http: u8 = 0;
    const arguments: u8 = 0;
    static extracted: u8 = 0;
    static serve: u8 = 0;
    static connection: u8 = 0;

    fn length(order: &str) -> usize {
        order.len()
    }

    #[idempotent_axum(ttl = "1s", scope = "tenant", fingerprint = length, store = Store<u8>, crate = crate::axum)]
    pub(super) async fn axum<const OPTIONAL: usize, Request: Display>(
        tx: &mut Savepoint<'_>,
        _: &Attempt,
        _: Request,
        tenant: Box<str>,
        order: String,
    ) -> String {
        tx.write(format!("{tenant} {OPTIONAL}"));
        order
    }

    #[idempotent_actix(ttl = "1s", scope = "tenant", store = Store<u8>, crate = crate::actix)]
    pub(super) async fn actix(tx: &mut Savepoint<'_>, tenant: Box<str>, order: String) -> String {
        tx.write(format!("{tenant} {}", opened + response));
        order
    }
}

/// Types, among them all that are not keywords.
mod types {
    #![allow(non_camel_case_types)]

    use super::{idempotent_actix, idempotent_axum};

    struct u8;
    struct u64;
    struct usize;
    struct bool;
    struct str;
    struct Option;
    struct Result;
    struct Policy;
    struct Response;
    struct HandlerOutcome;
    struct Open;
    struct Role;
    struct Some;
    struct Ok;
    struct Err;
    struct None;
    mod core {}
    mod std {}

    #[idempotent_axum(ttl = "1s", scope = "tenant", crate = crate::axum)]
    pub(super) async fn axum(
        _: &mut super::Savepoint<'_>,
        tenant: ::std::boxed::Box<::core::primitive::str>,
        order: ::std::string::String,
    ) -> ::std::string::String {
        tenant.into_string() + &order
    }

    #[idempotent_actix(ttl = "1s", scope = "tenant", crate = crate::actix)]
    pub(super) async fn actix(
        _: &mut super::Savepoint<'_>,
        tenant: ::std::boxed::Box<::core::primitive::str>,
        order: ::std::string::String,
    ) -> ::std::string::String {
        tenant.into_string() + &order
    }
}

/// Arguments and the handler itself.
#[idempotent_axum(ttl = "1s", scope = "scope", crate = crate::axum)]
async fn serve(
    opened: &mut Savepoint<'_>,
    attempt: &Attempt,
    scope: Box<str>,
    value: String,
) -> String {
    let (error, response, claim, keep, closed) = ("error", attempt, "claim", "keep", "closed");
    let _: &Attempt = response;
    opened.write(format!("{error} {claim} {keep} {closed} {scope}"));
    value
}

type Arguments = (Argument<Box<str>>, Argument<String>);

fn extracted<P>(body: &str) -> Extracted<CalledByTheFramework<P>, Arguments> {
    let order = Argument(body.to_owned(), Some("String"));
    Extracted {
        request: CalledByTheFramework::new(),
        arguments: (Argument("acme".into(), None), order),
        raw: "",
        http: "http",
    }
}

fn body(text: &str) -> Body<String> {
    Body {
        value: text.to_owned(),
        raw: "",
    }
}

#[test]
fn constants_are_not_compared_with() {
    let answer = run(constants::axum::<7, u8>(
        CalledByTheFramework::new(),
        1,
        "acme".into(),
        body("abc"),
    ));
    assert_eq!(
        answer,
        "1s [acme] value 3, acme 7, closed true, returned, abc"
    );
    let answer = run(constants::actix(extracted("abc")));
    assert_eq!(
        answer,
        "1s [acme] body abc, acme 0, closed true, returned, abc http"
    );
}

#[test]
fn types_are_not_used() {
    let answer = run(types::axum(
        CalledByTheFramework::new(),
        "acme".into(),
        body("abc"),
    ));
    assert_eq!(answer, "1s [acme] body abc, closed true, returned, acmeabc");
    let answer = run(types::actix(extracted("abc")));
    assert_eq!(
        answer,
        "1s [acme] body abc, closed true, returned, acmeabc http"
    );
}

#[test]
fn arguments_and_the_handler_have_any_name() {
    let answer = run(serve(
        CalledByTheFramework::new(),
        "acme".into(),
        body("abc"),
    ));
    let expected = "1s [acme] body abc, error claim keep closed acme, closed true, returned, abc";
    assert_eq!(answer, expected);
}
