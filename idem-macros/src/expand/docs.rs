//! The section of the handler's documentation that tells its contract.

use quote::ToTokens;

use crate::model::{Content, Handler};
use crate::options::{BODY, Choice, FINGERPRINT, KEY, REPLAY};

/// The lines of the section `# Idempotency`.
pub(crate) fn contract(handler: &Handler) -> Vec<String> {
    let policy = &handler.policy;
    let key = policy.key.unwrap_or(&KEY[0]).meaning;
    let replayed = policy
        .replay
        .map_or_else(default_replay, |replay| replay.meaning);
    let ttl = &policy.ttl.text;
    let scope = match &handler.scope {
        Some(scope) => format!("each `{}` has its own keys", scope.path.literal.value()),
        None => "all clients share their keys".to_owned(),
    };
    let operation = policy
        .operation
        .as_ref()
        .map_or_else(|| "method and route".to_owned(), |name| format!("`{name}`"));
    let bound = match &handler.content {
        Content::Body => FINGERPRINT[0].meaning.to_owned(),
        Content::Raw => FINGERPRINT[1].meaning.to_owned(),
        Content::None => BODY[0].meaning.to_owned(),
        Content::Function(function) => {
            format!(
                "path, query and `{}` of the body",
                function.to_token_stream().to_string().replace(' ', "")
            )
        }
    };
    [
        String::new(),
        " # Idempotency".to_owned(),
        String::new(),
        " The writes and the response are stored once per idempotency key; a retry gets that response.".to_owned(),
        String::new(),
        format!(" - Key: {key}"),
        format!(" - Scope: {scope}"),
        format!(" - Operation: {operation}"),
        format!(" - Remembered: {ttl}"),
        format!(" - Bound to the key: {bound}"),
        format!(" - Replayed: {replayed}"),
        " - Statuses: 400 without a valid key, 409 while the first request runs, 422 for another request with the same key, 503 to try again".to_owned(),
    ]
    .into()
}

fn default_replay() -> &'static str {
    REPLAY
        .iter()
        .find(|choice: &&Choice| choice.word == "final")
        .map_or("", |choice| choice.meaning)
}
