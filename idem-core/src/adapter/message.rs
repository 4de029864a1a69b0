//! From a message to the answer of its consumer.

use std::future::Future;

use super::key_source::KeyArgument;
use super::outcome::HandlerOutcome;
use crate::attempt::Attempt;
use crate::canonical::EncodeError;
use crate::engine::{ClaimGuard, Engine};
use crate::fingerprint::Content;
use crate::once::{Call, unbound};
use crate::policy::Policy;
use crate::response::Response;
use crate::store::Store;

pub use crate::once::ended::{Recorded, answer, record};

/// A message, with what its arguments say.
#[derive(Debug)]
pub struct Message<'a> {
    pub key: KeyArgument,
    pub scope: Option<String>,
    pub content: Result<Content, EncodeError>,
    pub payload: &'a [u8],
}

/// Runs `work` once for a message. See [`Engine::once`].
///
/// # Panics
///
/// If the policy has no operation. The attribute requires one.
pub async fn consume<S, W, A>(
    engine: &Engine<S>,
    policy: &'static Policy,
    message: Message<'_>,
    work: W,
) -> Response
where
    S: Store,
    W: FnOnce(ClaimGuard<S::Claim>, Attempt) -> A,
    A: Future<Output = HandlerOutcome<Response>>,
{
    let call = Call {
        policy,
        scope: message.scope,
        key: message.key.into_value(),
        content: message.content.map_err(|error| unbound(&error)),
        payload: Some(message.payload),
    };
    engine.run_once(call, work).await
}
