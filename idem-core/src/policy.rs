//! The options of an attribute for its endpoint, as a constant.

use std::time::Duration;

use http::StatusCode;

use crate::fingerprint::BoundTarget;
use crate::record::State;

/// How long a duplicate waits for the first request, by default.
pub const DEFAULT_WAIT: Duration = Duration::from_secs(2);

/// How long an attempt may take, by default.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(30);

/// The policy of one endpoint. The attribute makes it at compile time.
///
/// ```
/// use std::time::Duration;
/// use idem_core::adapter::Policy;
///
/// static POLICY: Policy =
///     Policy::new(Duration::from_secs(86_400)).with_deadline(Duration::from_secs(10));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub(crate) ttl: Duration,
    pub(crate) wait: Duration,
    pub(crate) respond_within: Option<Duration>,
    pub(crate) deadline: Duration,
    pub(crate) lease: Option<Duration>,
    pub(crate) replay: Replay,
    pub(crate) target: BoundTarget,
    pub(crate) isolation: Option<Isolation>,
    pub(crate) operation: Option<&'static str>,
    pub(crate) cookies: &'static [&'static str],
    pub(crate) response_limit: Option<usize>,
    pub(crate) is_head_only: bool,
}

impl Policy {
    /// A policy whose records are replayed for `ttl` after they were settled.
    pub const fn new(ttl: Duration) -> Self {
        Self {
            ttl,
            wait: DEFAULT_WAIT,
            respond_within: None,
            deadline: DEFAULT_DEADLINE,
            lease: None,
            replay: Replay::Final,
            target: BoundTarget::Exact,
            isolation: None,
            operation: None,
            cookies: &[],
            response_limit: None,
            is_head_only: false,
        }
    }

    /// How long a duplicate waits for the attempt in flight (rule C2).
    #[must_use]
    pub const fn with_wait(self, wait: Duration) -> Self {
        Self { wait, ..self }
    }

    /// How long a client waits for an attempt if it prefers an early answer (rule C7).
    #[must_use]
    pub const fn with_respond_within(self, limit: Duration) -> Self {
        Self {
            respond_within: Some(limit),
            ..self
        }
    }

    /// How long an attempt may take (rule O13).
    #[must_use]
    pub const fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// How long a handler with steps holds its key without a sign of life (rule T1).
    #[must_use]
    pub const fn with_lease(self, lease: Duration) -> Self {
        Self {
            lease: Some(lease),
            ..self
        }
    }

    /// Which outcomes are replayed (rule O5).
    #[must_use]
    pub const fn with_replay(self, replay: Replay) -> Self {
        Self { replay, ..self }
    }

    /// What of a request's method, path and query is bound to its key (rules F6 and F7).
    #[must_use]
    pub const fn with_target(self, target: BoundTarget) -> Self {
        Self { target, ..self }
    }

    /// The isolation level of the handler's transaction; by default the database's own.
    #[must_use]
    pub const fn with_isolation(self, isolation: Isolation) -> Self {
        Self {
            isolation: Some(isolation),
            ..self
        }
    }

    /// A name for the operation, so that an identity does not change when the route moves (rule
    /// S1).
    #[must_use]
    pub const fn with_operation(self, operation: &'static str) -> Self {
        Self {
            operation: Some(operation),
            ..self
        }
    }

    /// The cookies of a response that are recorded (rule R4).
    #[must_use]
    pub const fn with_recorded_cookies(self, cookies: &'static [&'static str]) -> Self {
        Self { cookies, ..self }
    }

    /// The most bytes that a response's body may have, in place of the application's limit (rule L1).
    #[must_use]
    pub const fn with_response_limit(self, bytes: usize) -> Self {
        Self {
            response_limit: Some(bytes),
            ..self
        }
    }

    /// Records a response without its body (rule R11).
    #[must_use]
    pub const fn with_head_only(self) -> Self {
        Self {
            is_head_only: true,
            ..self
        }
    }

    /// The name that the attribute gives to the operation.
    pub const fn operation(&self) -> Option<&'static str> {
        self.operation
    }

    /// How an attempt that answered with `status` is settled (rules O2 to O6, O15 and O16).
    ///
    /// # Errors
    ///
    /// If neither the handler nor its response says whether it has failed.
    pub fn classify(
        &self,
        status: StatusCode,
        settle: Option<Settle>,
        returned: Returned,
    ) -> Result<Settle, Misuse> {
        match (settle, returned) {
            (Some(settle), _) => Ok(settle),
            (None, Returned::Value) => Ok(self.classify_status(status, false)),
            (None, Returned::Err) => Ok(self.classify_status(status, true)),
            (None, Returned::HiddenResult) => Err(Misuse::HiddenResult),
        }
    }

    pub(crate) fn classify_status(&self, status: StatusCode, is_err: bool) -> Settle {
        match (status.as_u16(), self.replay) {
            (200..=399, _) if !is_err => Settle::Commit,
            (_, Replay::Success) => Settle::Retriable,
            // Below 200 there is no response yet: see `final_response` of the engine.
            (500.., Replay::All) => Settle::Final,
            _ if is_transient(status) => Settle::Retriable,
            _ => Settle::Final,
        }
    }
}

/// Whether a failure with this status says nothing about the content of the request (rule O4). It is
/// about time, the server, or a part of the request that the fingerprint does not bind: a credential, a
/// precondition, an accepted type.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        401 | 403
            | 406..=409
            | 412
            | 415..=417
            | 421
            | 423..=426
            | 428
            | 429
            | 431
            | ..=199
            | 500..
    )
}

/// How a handler has returned its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Returned {
    /// As a value, or in `Ok`.
    Value,
    /// In `Err`.
    Err,
    /// In a `Result` that the return type does not show.
    HiddenResult,
}

/// A mistake in a handler that leaves open how its attempt is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Misuse {
    /// See [`Returned::HiddenResult`].
    #[error(
        "the handler's return type hides a `Result`, and an `Err` in it would be taken for a success; \
         write `-> Result<_, _>`"
    )]
    HiddenResult,
    /// The [`Settle`] is where nothing reads it.
    #[error(
        "`Settle` is in the request's extensions, where it settles nothing; put it into the response's: \
         `response.extensions_mut().insert(Settle::Commit)`"
    )]
    SettleInRequest,
    /// See [`Engine::once`](crate::Engine::once).
    #[error("the value can't be recorded")]
    Unrecordable,
}

/// Which outcomes are recorded and replayed (rule O5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "utoipa",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "lowercase")
)]
#[non_exhaustive]
pub enum Replay {
    /// Successes only; every failure may run again.
    Success,
    /// Successes and the client's deterministic errors: the default.
    Final,
    /// As [`Final`](Self::Final), and also the 5xx that the handler itself returned.
    All,
}

/// The isolation of a handler's transaction from concurrent ones: SQL's own levels.
///
/// Under the stricter levels, another transaction can make any statement or COMMIT fail. After a
/// failed COMMIT the answer is 503 `try-again` (rule O8). A failed statement returns its error to
/// the handler. If the handler then answers with a 5xx, the request may run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Isolation {
    /// Every statement sees all data that was committed before the statement began.
    ReadCommitted,
    /// Every statement sees the data that was committed when the first statement began.
    RepeatableRead,
    /// As if all transactions had run one after the other.
    Serializable,
}

/// A handler's choice of how its response settles the attempt, instead of the status ([rule O6]).
///
/// Put it into the extensions of the **response**. This keeps a declined charge:
///
/// ```
/// # use http::{Response, StatusCode};
/// # use idem_core::Settle;
/// let mut response = Response::new("declined"); // on actix-web an `HttpResponse`
/// *response.status_mut() = StatusCode::PAYMENT_REQUIRED;
/// response.extensions_mut().insert(Settle::Commit);
/// ```
///
/// On axum it can also be a part of a tuple:
/// `(StatusCode::PAYMENT_REQUIRED, Extension(Settle::Commit), "declined")`.
///
/// Without a `Settle`, a status below 400 keeps the writes, and an `Err` never does, whatever its
/// status ([rule O15]). A `Settle` in the error's response changes that, too.
///
/// [rule O6]: crate::_documentation::contract#o-outcomes
/// [rule O15]: crate::_documentation::contract#o-outcomes
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Settle {
    /// The writes are kept and the response is replayed. The status does not matter.
    Commit,
    /// The writes are undone and the response is replayed.
    Final,
    /// The writes are undone and a retry runs again.
    Retriable,
    /// The writes are kept, the response is not recorded, and a retry runs again ([rule O16]): for
    /// an audit row, a counter of failed logins, or the mark of a message that was sent.
    ///
    /// The attempt has failed all the same, so futures of
    /// [`after_commit`](crate::Attempt::after_commit) don't run.
    ///
    /// [rule O16]: crate::_documentation::contract#o-outcomes
    KeepAndRetry,
}

impl Settle {
    /// The state of the record.
    pub(crate) const fn state(self) -> State {
        match self {
            Self::Commit => State::Succeeded,
            Self::Final => State::FailedFinal,
            Self::Retriable | Self::KeepAndRetry => State::FailedRetriable,
        }
    }

    /// Whether the handler's writes are kept.
    pub(crate) const fn keeps_writes(self) -> bool {
        matches!(self, Self::Commit | Self::KeepAndRetry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(status: u16, replay: Replay) -> State {
        Policy::new(Duration::from_secs(1))
            .with_replay(replay)
            .classify(StatusCode::from_u16(status).unwrap(), None, Returned::Value)
            .unwrap()
            .state()
    }

    #[test]
    fn o2_below_400_succeeds() {
        for status in [200, 201, 204, 302, 399] {
            assert_eq!(state(status, Replay::Final), State::Succeeded);
        }
    }

    #[test]
    fn o3_o4_client_errors_are_final_unless_they_are_transient() {
        let transient = [
            401, 403, 406, 407, 408, 409, 412, 415, 416, 417, 421, 423, 424, 425, 426, 428, 429,
            431,
        ];
        for status in 400..=599 {
            let expected = if status >= 500 || transient.contains(&status) {
                State::FailedRetriable
            } else {
                State::FailedFinal
            };
            assert_eq!(state(status, Replay::Final), expected, "{status}");
        }
    }

    #[test]
    fn o5_replay_narrows_or_widens_what_is_final() {
        assert_eq!(state(422, Replay::Success), State::FailedRetriable);
        assert_eq!(state(500, Replay::Success), State::FailedRetriable);
        assert_eq!(state(422, Replay::All), State::FailedFinal);
        assert_eq!(state(500, Replay::All), State::FailedFinal);
        assert_eq!(state(429, Replay::All), State::FailedRetriable);
        assert_eq!(state(201, Replay::Success), State::Succeeded);
    }

    #[test]
    fn o6_the_handler_has_the_last_word() {
        let policy = Policy::new(Duration::from_secs(1));
        for (status, settle) in [
            (402, Settle::Commit),
            (500, Settle::Final),
            (200, Settle::Retriable),
            (401, Settle::KeepAndRetry),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            for returned in [Returned::Value, Returned::Err, Returned::HiddenResult] {
                let classified = policy.classify(status, Some(settle), returned);
                assert_eq!(classified, Ok(settle));
            }
        }
    }

    #[test]
    fn o15_an_err_never_succeeds_by_its_status() {
        let state = |status, replay| {
            let policy = Policy::new(Duration::from_secs(1)).with_replay(replay);
            let status = StatusCode::from_u16(status).unwrap();
            let settle = policy.classify(status, None, Returned::Err);
            settle.unwrap().state()
        };
        for status in [200, 204, 303, 399, 400, 422] {
            assert_eq!(state(status, Replay::Final), State::FailedFinal);
            assert_eq!(state(status, Replay::All), State::FailedFinal);
            assert_eq!(state(status, Replay::Success), State::FailedRetriable);
        }
        for status in [401, 409, 429] {
            assert_eq!(state(status, Replay::Final), State::FailedRetriable);
        }
        assert_eq!(state(503, Replay::Final), State::FailedRetriable);
        assert_eq!(state(503, Replay::All), State::FailedFinal);
    }

    #[test]
    fn o15_a_hidden_result_is_refused() {
        let policy = Policy::new(Duration::from_secs(1));
        let classified = policy.classify(StatusCode::OK, None, Returned::HiddenResult);
        assert_eq!(classified, Err(Misuse::HiddenResult));
    }
}
