//! The section of the handler's documentation that states its contract.

use quote::ToTokens;

use crate::choice::{Isolation, KeyRule, Replay};
use crate::model::{Content, Handler};

/// The lines of the section `# Idempotency`.
pub(crate) fn contract(handler: &Handler) -> Vec<String> {
    let policy = &handler.policy;
    let (key, invalid) = match policy.key.unwrap_or_default() {
        KeyRule::Required => ("required", "without a valid key"),
        KeyRule::Optional => (
            "optional; without it the request runs unrecorded",
            "for a malformed key",
        ),
    };
    let operation = policy
        .operation
        .as_ref()
        .map_or_else(|| "method and route".to_owned(), |name| format!("`{name}`"));
    let isolation = policy.isolation.map(isolation);
    let isolation = isolation.map(|isolation| format!(" - Isolation: {isolation}"));
    let lines = [
        String::new(),
        " # Idempotency".to_owned(),
        String::new(),
        " The writes and the response are stored once per idempotency key; a retry gets that response.".to_owned(),
        String::new(),
        format!(" - Key: {key}"),
        format!(" - Scope: {}", scope(handler)),
        format!(" - Operation: {operation}"),
        format!(" - Remembered: {}", policy.ttl.text),
        format!(" - Bound to the key: {}", bound(&handler.content)),
        format!(" - Replayed: {}", replayed(policy.replay.unwrap_or_default())),
        format!(
            " - Statuses: 400 {invalid}, 409 while the first request runs, 422 for another request with the same key, \
             503 to try again"
        ),
    ];
    lines.into_iter().chain(isolation).collect()
}

fn scope(handler: &Handler) -> String {
    match &handler.scope {
        Some(scope) => format!("each `{}` has its own keys", scope.path.literal.value()),
        None => "all clients share their keys".to_owned(),
    }
}

fn bound(content: &Content) -> String {
    match content {
        Content::Body => "path, query and body".to_owned(),
        Content::Raw => "path, query and the body's bytes".to_owned(),
        Content::None => "path and query".to_owned(),
        Content::Function(function) => {
            let function = function.to_token_stream().to_string().replace(' ', "");
            format!("path, query and `{function}` of the body")
        }
    }
}

fn replayed(replay: Replay) -> &'static str {
    match replay {
        Replay::Success => "statuses below 400",
        Replay::Final => "statuses below 400, and 4xx but 401, 403, 408, 409, 423, 425 and 429",
        Replay::All => "statuses below 400, 5xx, and 4xx but 401, 403, 408, 409, 423, 425 and 429",
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
