//! The rules that hold for consumers of messages alone.

use super::mistakes_for;
use crate::framework::Consume;

#[track_caller]
fn refused(arguments: &str, expected: &[(&str, &str)]) {
    let mistakes = mistakes_for::<Consume>(&format!(
        "#[idempotent(ttl = \"14d\", unscoped, {arguments})]
        async fn ship(tx: &mut PgConnection, id: MessageId, event: Event<Paid>) -> Result<(), Failure> {{}}"
    ));
    let expected = expected
        .iter()
        .map(|(at, message)| ((*at).to_owned(), (*message).to_owned()));
    assert_eq!(mistakes, expected.collect::<Vec<_>>(), "{arguments}");
}

#[test]
fn a_consumer_has_an_operation_and_a_key() {
    const NO_OPERATION: &str = r#"missing argument `operation`; a message has no route, so name the consumer, such as `operation = "ship_order"`"#;
    const NO_KEY: &str =
        r#"missing argument `key`; name the message's id, such as `key = "event.id"`"#;
    refused(r#"key = "id""#, &[("", NO_OPERATION)]);
    refused(r#"operation = "ship""#, &[("", NO_KEY)]);
    refused(r#"operation = "ship", key = "event.id""#, &[]);
    // Misspelled ones are reported already.
    refused(
        r#"operatoin = "ship", kye = "id""#,
        &[
            (
                "operatoin",
                "unknown argument `operatoin`; did you mean `operation`?",
            ),
            ("kye", "unknown argument `kye`; did you mean `key`?"),
        ],
    );
    refused(
        r#"operation = "ship", key = "evnt.id""#,
        &[(
            r#""evnt.id""#,
            "no argument named `evnt`; did you mean `event`?",
        )],
    );
}

#[test]
fn the_key_is_in_an_argument() {
    const IN_ARGUMENT: &str = r#"the key of a message is in an argument, such as `key = "event.id"`, or `key = "id"` with `id: MessageId`"#;
    for key in [
        r#""required""#,
        r#""optional""#,
        r#"header("nats-msg-id")"#,
        r#"optional(header("nats-msg-id"))"#,
    ] {
        let arguments = format!(r#"operation = "ship", key = {key}"#);
        refused(&arguments, &[(key, IN_ARGUMENT)]);
    }
    refused(
        r#"operation = "ship", key = optional("event.id")"#,
        &[(
            r#"optional("event.id")"#,
            "a message without a key can't be told from its duplicate; name the argument without `optional`",
        )],
    );
}

#[test]
fn nothing_is_said_about_requests_and_responses() {
    const NO_RESPONSE: &str = "a consumer has no response that could be replayed; remove this";
    for (option, word, message) in [
        (
            r#"wait = "1s""#,
            "wait",
            "a duplicate of a message does not wait, it is delivered again later; remove `wait`",
        ),
        (r#"respond_within = "5s""#, "respond_within", NO_RESPONSE),
        (r#"replay = "all""#, "replay", NO_RESPONSE),
        (r#"record = "head""#, "record", NO_RESPONSE),
        (r#"response_limit = "1KiB""#, "response_limit", NO_RESPONSE),
        (
            r#"query = "none""#,
            "query",
            "a message has no query; remove `query`",
        ),
        (
            r#"bind = header("a")"#,
            "bind",
            "a message is bound to its key by its content; remove `bind`",
        ),
    ] {
        let arguments = format!(r#"operation = "ship", key = "id", {option}"#);
        refused(&arguments, &[(word, message)]);
    }
}

#[test]
fn a_fingerprint_needs_the_content() {
    let mistakes = mistakes_for::<Consume>(
        r#"#[idempotent(ttl = "14d", unscoped, operation = "ship", key = "id", fingerprint = Order::intent)]
        async fn ship(tx: &mut PgConnection) -> Result<(), Failure> {}"#,
    );
    let expected = "`Order::intent` has no content to read; take it, such as `order: Event<Order>`";
    let expected = ("Order::intent".to_owned(), expected.to_owned());
    assert!(mistakes.contains(&expected), "{mistakes:?}");
}
