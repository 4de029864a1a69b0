//! Scripts that are sent until there is an answer, or no time.
//!
//! Each script is idempotent by its holder, so a command whose answer was lost is sent again.

use std::sync::atomic::Ordering;
use std::time::Duration;

use idem_core::StepError;
use idem_core::store::{SettleError, StoreError, Unreadable};
use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, Value};
use tokio::time::{Instant, sleep};

use crate::hash::Reply;
use crate::link::{Failure, Link};
use crate::scripts::Script;
use crate::store::RedisStore;

/// How long the writes of an attempt are sent: its handler has run in part, so they are worth the wait.
const RESOLVE: Duration = Duration::from_secs(5);

const PAUSE: Duration = Duration::from_millis(50);

/// How hard to try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// A refusal is an answer: nothing has begun yet.
    Request,
    /// A server that refuses may be starting, or failing over.
    Attempt,
    /// An answer that was lost is not asked for again.
    Once,
}

/// A script with its arguments.
#[derive(Clone, Copy)]
struct Call<'a> {
    script: &'a Script,
    key: &'a str,
    arguments: &'a [Vec<u8>],
    /// How many replicas have to have what it writes.
    replicas: u16,
}

/// Why a script has no answer.
#[derive(Debug)]
pub(crate) enum Failed {
    /// Nothing was written.
    Refused(RedisError),
    /// The script may have run, or will.
    Unknown(RedisError),
    /// The script has run, and too few replicas have acknowledged it.
    NotReplicated { acknowledged: i64, wanted: u16 },
}

impl RedisStore {
    /// Runs a script that reads.
    pub(crate) async fn read(&self, script: &Script, key: &str) -> Result<Reply, StoreError> {
        let reply = self.send(script, key, &[], Effort::Request).await;
        reply.map_err(Failed::into_store_error)
    }

    /// Runs a script.
    pub(crate) async fn send(
        &self,
        script: &Script,
        key: &str,
        arguments: &[Vec<u8>],
        effort: Effort,
    ) -> Result<Reply, Failed> {
        self.resend(script, key, arguments, 0, effort).await
    }

    /// Runs a script that writes. There is an answer only if enough replicas have the writes.
    pub(crate) async fn write(
        &self,
        script: &Script,
        key: &str,
        arguments: &[Vec<u8>],
        effort: Effort,
    ) -> Result<Reply, Failed> {
        let replicas = self.replicas();
        self.resend(script, key, arguments, replicas, effort).await
    }

    async fn resend(
        &self,
        script: &Script,
        key: &str,
        arguments: &[Vec<u8>],
        replicas: u16,
        effort: Effort,
    ) -> Result<Reply, Failed> {
        let call = Call {
            script,
            key,
            arguments,
            replicas,
        };
        let limit = match effort {
            Effort::Request => self.timeout,
            Effort::Attempt => RESOLVE,
            Effort::Once => Duration::ZERO,
        };
        let until = Instant::now() + limit;
        // Once an answer was lost, a refusal of the next command proves nothing.
        let mut unknown = None;
        loop {
            let failed = match self.send_once(&call).await {
                Ok(reply) => return Ok(reply),
                Err(failed) => failed,
            };
            let has_time = Instant::now() + PAUSE <= until;
            match failed {
                Failed::Refused(error) => {
                    let is_answer = effort == Effort::Request && unknown.is_none();
                    if !has_time || is_answer || is_lasting(&error) {
                        return Err(unknown.unwrap_or(Failed::Refused(error)));
                    }
                }
                failed if !has_time => return Err(failed),
                failed => unknown = Some(failed),
            }
            sleep(PAUSE).await;
        }
    }

    async fn send_once(&self, call: &Call<'_>) -> Result<Reply, Failed> {
        let Call {
            script,
            key,
            arguments,
            replicas,
        } = *call;
        let link = if replicas == 0 {
            &self.links.shared
        } else {
            self.durable_link()
        };
        let by_digest = script.by_digest(key, arguments);
        let answer = match self.send_on(link, call, &by_digest).await {
            Err(Failure::Refused(error)) if is_unknown_script(&error) => {
                let by_text = script.by_text(key, arguments);
                self.send_on(link, call, &by_text).await
            }
            answer => answer,
        };
        let (answer, acknowledged) = answer?;
        let reply = Reply::read(answer).map_err(Failed::Unknown)?;
        // Answers without a write need no replica.
        if acknowledged < i64::from(replicas) && !["lost", "leased"].contains(&&*reply.code) {
            return Err(Failed::NotReplicated {
                acknowledged,
                wanted: replicas,
            });
        }
        Ok(reply)
    }

    async fn send_on(
        &self,
        link: &Link,
        call: &Call<'_>,
        command: &Cmd,
    ) -> Result<(Value, i64), Failure> {
        if call.replicas == 0 {
            return Ok((link.send(command, self.timeout).await?, 0));
        }
        let both = link.send_and_wait(call.key, command, call.replicas, self.timeout);
        both.await
    }

    /// A WAIT holds up all commands after it on its connection, so these take turns.
    pub(crate) fn durable_link(&self) -> &Link {
        let links = &self.links.durable;
        let turn = self.links.turn.fetch_add(1, Ordering::Relaxed);
        links
            .get(turn % links.len().max(1))
            .unwrap_or(&self.links.shared)
    }
}

impl From<Failure> for Failed {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(error) => Self::Refused(error),
            Failure::Lost(error) => Self::Unknown(error),
        }
    }
}

impl Failed {
    pub(crate) fn into_store_error(self) -> StoreError {
        match self {
            Self::Refused(error) => store_error(error),
            Self::Unknown(error) => StoreError::Unavailable(error.into()),
            not_replicated @ Self::NotReplicated { .. } => {
                StoreError::Unavailable(not_replicated.to_string().into())
            }
        }
    }

    pub(crate) fn into_settle_error(self) -> SettleError {
        match self {
            Self::Refused(error) if is_forbidden(&error) => {
                SettleError::Misconfigured(error.into())
            }
            Self::Refused(error) => SettleError::Refused(error.into()),
            Self::Unknown(error) => SettleError::Unknown(error.into()),
            not_replicated @ Self::NotReplicated { .. } => {
                SettleError::Unknown(not_replicated.to_string().into())
            }
        }
    }

    pub(crate) fn into_step_error(self) -> StepError {
        match self {
            Self::Refused(error) => StepError::Store(store_error(error)),
            unknown => StepError::Unconfirmed(unknown.into_settle_error()),
        }
    }
}

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(error) | Self::Unknown(error) => error.fmt(f),
            Self::NotReplicated {
                acknowledged,
                wanted,
            } => write!(f, "{acknowledged} of {wanted} replicas have acknowledged"),
        }
    }
}

pub(crate) fn unavailable(failure: Failure) -> StoreError {
    Failed::from(failure).into_store_error()
}

pub(crate) fn store_error(error: RedisError) -> StoreError {
    if is_of_another_type(&error) {
        StoreError::Unreadable(Unreadable::new("the key is not a hash"))
    } else if is_forbidden(&error) {
        StoreError::Misconfigured(error.into())
    } else {
        StoreError::Unavailable(error.into())
    }
}

/// At the start of a service, credentials that the server does not take are a fault of the setup.
pub(crate) fn at_start(error: RedisError) -> StoreError {
    if is_unauthenticated(&error) {
        StoreError::Misconfigured(error.into())
    } else {
        store_error(error)
    }
}

pub(crate) fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}

/// Whether the next command would be refused, too.
pub(crate) fn is_lasting(error: &RedisError) -> bool {
    is_forbidden(error) || is_unauthenticated(error) || is_of_another_type(error)
}

/// Of a key that something else has written. Redis 6 has the code inside of the text.
fn is_of_another_type(error: &RedisError) -> bool {
    error.code() == Some("WRONGTYPE") || says(error, "WRONGTYPE")
}

fn says(error: &RedisError, part: &str) -> bool {
    error.detail().is_some_and(|text| text.contains(part))
}

/// Whether the server's or the client's setup forbids the command, or one inside of the script: that one has no code
/// of its own.
pub(crate) fn is_forbidden(error: &RedisError) -> bool {
    let is_of_setup = matches!(
        error.kind(),
        ErrorKind::InvalidClientConfig
            | ErrorKind::Server(ServerErrorKind::NoPerm | ServerErrorKind::CrossSlot)
    );
    is_of_setup || says(error, "The user executing the script can't")
}

/// Whether the server does not take the credentials. This can pass, while a password is replaced.
fn is_unauthenticated(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed
        || matches!(error.code(), Some("NOAUTH" | "WRONGPASS"))
}
