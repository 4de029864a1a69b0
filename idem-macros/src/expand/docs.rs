//! The section of the handler's documentation that states its contract.

use quote::ToTokens;

use crate::choice::{Isolation, Need, Replay};
use crate::framework::Framework;
use crate::model::{Content, Handler, Key, KeyPlace, Record, Target};
use crate::suggest;

/// The lines of the section `# Idempotency`.
pub(crate) fn contract<F: Framework>(handler: &Handler) -> Vec<String> {
    let policy = &handler.policy;
    let operation = policy
        .operation
        .as_ref()
        .map_or_else(|| "method and route".to_owned(), |name| format!("`{name}`"));
    let stored = match (F::IS_HTTP, &policy.lease) {
        (true, None) => {
            " The writes and the response are stored once per idempotency key; a retry gets that response."
        }
        (true, Some(_)) => {
            " Each step is recorded once per idempotency key. A retry resumes after the recorded steps; once there is a \
                     response, it gets that response."
        }
        (false, None) => {
            " The writes are stored once per key; a duplicate of the message is done without running."
        }
        (false, Some(_)) => {
            " Each step is recorded once per key. A redelivery resumes after the recorded steps; a duplicate of a \
                     message that is done does not run."
        }
    };
    let mut lines = vec![
        String::new(),
        " # Idempotency".to_owned(),
        String::new(),
        stored.to_owned(),
        String::new(),
        format!(" - Key: {}", key(&handler.key)),
        format!(" - Scope: {}", scope::<F>(handler)),
        format!(" - Operation: {operation}"),
        format!(" - Remembered: {}", policy.ttl.text),
        format!(" - Bound to the key: {}", bound::<F>(handler)),
    ];
    if F::IS_HTTP {
        lines.extend(responses(handler));
    }
    lines.extend(
        policy
            .isolation
            .map(|level| format!(" - Isolation: {}", isolation(level))),
    );
    let lease = policy.lease.as_ref();
    lines.extend(lease.map(|lease| format!(" - Lease: {}", lease.text)));
    lines
}

/// The lines about responses.
fn responses(handler: &Handler) -> impl Iterator<Item = String> {
    let policy = &handler.policy;
    let invalid = match handler.key.need {
        Need::Required => "without a valid key",
        Need::Optional => "for a malformed key",
    };
    let record = matches!(policy.record, Record::Head).then(|| {
        " - Not recorded: the body; a retry gets the status and the headers alone".to_owned()
    });
    let replayed = replayed(policy.replay.unwrap_or_default());
    let early = policy.respond_within.as_ref().map(|limit| {
        format!(
            " - Answered early: 202 after {}, for a client that sends `Prefer: respond-async`; the same request again gets \
             the result",
            limit.text
        )
    });
    [
        format!(" - Replayed: {replayed}"),
        format!(
            " - Statuses: 400 {invalid}, 409 while the first request runs, 422 for another request with the same key, \
             503 to try again"
        ),
    ]
    .into_iter()
    .chain(early)
    .chain(record)
}

fn key(key: &Key) -> String {
    let place = match &key.place {
        KeyPlace::Headers(names) if names.is_empty() => String::new(),
        KeyPlace::Headers(names) => {
            let names = suggest::list(names.iter().map(String::as_str), '`');
            format!(", in the header {names}")
        }
        KeyPlace::Argument(source) => format!(", `{}`", source.path.literal.value()),
    };
    match key.need {
        Need::Required => format!("required{place}"),
        Need::Optional => format!("optional{place}; without it the request runs unrecorded"),
    }
}

fn scope<F: Framework>(handler: &Handler) -> String {
    match &handler.scope {
        Some(scope) => format!("each `{}` has its own keys", scope.path.literal.value()),
        None if F::IS_HTTP => "all clients share their keys".to_owned(),
        None => "all messages share their keys".to_owned(),
    }
}

fn bound<F: Framework>(handler: &Handler) -> String {
    let body = if F::IS_HTTP { "body" } else { "content" };
    let query = match &handler.target {
        _ if !F::IS_HTTP => None,
        Target::Exact => Some("query".to_owned()),
        Target::SortedQuery => Some("query in any order".to_owned()),
        Target::QueryExcept(names) => {
            let names = suggest::list(names.iter().map(String::as_str), '`');
            Some(format!("query without {names}"))
        }
        Target::NoQuery | Target::Nothing => None,
    };
    let content = match &handler.content {
        Content::Body => Some(body.to_owned()),
        Content::Raw => Some(format!("the {body}'s bytes")),
        Content::None | Content::Nothing => None,
        Content::Function(function) => {
            let function = function.to_token_stream().to_string().replace(' ', "");
            Some(format!("`{function}` of the {body}"))
        }
    };
    let has_path = F::IS_HTTP && !matches!(handler.target, Target::Nothing);
    let path = has_path.then(|| "path".to_owned());
    let headers = handler
        .headers
        .iter()
        .map(|name| format!("the header `{name}`"));
    let parts = path.into_iter().chain(query).chain(content).chain(headers);
    match parts.collect::<Vec<_>>().as_slice() {
        [] => "nothing".to_owned(),
        [part] => part.clone(),
        [parts @ .., last] => format!("{} and {last}", parts.join(", ")),
    }
}

fn replayed(replay: Replay) -> &'static str {
    match replay {
        Replay::Success => "statuses below 400",
        Replay::Final => "statuses below 400, and 4xx that are about the content",
        Replay::All => "statuses below 400, 5xx, and 4xx that are about the content",
    }
}

fn isolation(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::ReadCommitted => "read committed",
        Isolation::RepeatableRead => "repeatable read",
        Isolation::Serializable => {
            "serializable; 503 if another transaction is in the way at the commit"
        }
    }
}
