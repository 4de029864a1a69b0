//! Why a message is not pushed, or not published.

use std::error::Error;
use std::fmt::{self, Display};

/// Why a message was not pushed. On PostgreSQL the transaction is broken after an error of the database.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// A handler with `Steps` has pushed a message without a name: an attempt that leaves out finished steps would
    /// give it the id of another message.
    #[error("a message that is pushed in a step needs a name, such as `(\"orders\", \"paid\")`")]
    Unnamed,
    /// The outbox has a message with this id: of the same name in the same request.
    #[error(
        "the message {id} is already in the outbox; the name of a message is used once in a request"
    )]
    Taken {
        /// The id.
        id: String,
    },
    /// The payload can't be serialized.
    #[error("the payload can't be serialized")]
    Payload(#[source] serde_json::Error),
    /// The database's error.
    #[error("the message could not be written")]
    Database(#[from] sqlx::Error),
}

/// Why a message was not published.
///
/// `?` makes a failure of any error, and the message is then published later:
///
/// ```
/// # use idem_outbox::{Failure, Message};
/// fn subject(message: &Message) -> Result<&str, Failure> {
///     std::str::from_utf8(&message.payload)?; // published later
///     match &*message.topic {
///         "orders" => Ok("orders.paid"),
///         other => Err(Failure::dead(format_args!("no subject for {other}"))), // never
///     }
/// }
/// ```
#[derive(Debug)]
pub struct Failure {
    pub(crate) reason: String,
    pub(crate) is_dead: bool,
}

impl Failure {
    /// The message is to be published later.
    pub fn later(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            reason: chain(&*error.into()),
            is_dead: false,
        }
    }

    /// No later try changes it: the message is a dead letter.
    pub fn dead(reason: impl Display) -> Self {
        Self {
            reason: reason.to_string(),
            is_dead: true,
        }
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::later(error)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// The error and its causes, in one line.
fn chain(error: &dyn Error) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    causes.join(": ")
}
