//! The section of the handler's documentation that tells its contract.

use quote::ToTokens;

use crate::model::{Content, Handler};
use crate::options::{self, Choice};

/// The lines of the section `# Idempotency`.
pub(crate) fn contract(handler: &Handler) -> Vec<String> {
    let policy = &handler.policy;
    let key = policy.key.unwrap_or(&options::REQUIRED);
    let invalid = if *key == options::REQUIRED {
        "without a valid key"
    } else {
        "for a malformed key"
    };
    let replay: &Choice = policy.replay.unwrap_or(&options::FINAL);
    let operation = policy
        .operation
        .as_ref()
        .map_or_else(|| "method and route".to_owned(), |name| format!("`{name}`"));
    let isolation = policy.isolation;
    let isolation = isolation.map(|isolation| format!(" - Isolation: {}", isolation.meaning));
    let lines = [
        String::new(),
        " # Idempotency".to_owned(),
        String::new(),
        " The writes and the response are stored once per idempotency key; a retry gets that response.".to_owned(),
        String::new(),
        format!(" - Key: {}", key.meaning),
        format!(" - Scope: {}", scope(handler)),
        format!(" - Operation: {operation}"),
        format!(" - Remembered: {}", policy.ttl.text),
        format!(" - Bound to the key: {}", bound(&handler.content)),
        format!(" - Replayed: {}", replay.meaning),
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
