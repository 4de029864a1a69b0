//! A handler's acts and its response: plain data that the handlers of every framework play.

use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::future::Either;
use futures_util::stream::{self, BoxStream};
use idem_core::{Settle, StepError};

use crate::control::Control;

/// One execution of a handler.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The acts, in order.
    pub acts: Vec<Act>,
    /// The response, unless an act has answered before.
    pub reply: Reply,
}

/// One act of a handler.
#[derive(Debug, Clone)]
pub enum Act {
    /// Inserts an effect of the tenant, with the label from the body.
    Insert,
    /// Runs SQL that has to succeed.
    Run(String),
    /// Runs SQL, and answers if it fails.
    Try(String, Reply),
    /// Runs SQL, and swallows its error.
    Swallow(String),
    /// Runs SQL on a connection of its own, from the pool.
    Elsewhere(String),
    /// Inserts an effect inside a nested transaction, and commits it or not.
    Nested(bool),
    /// Begins a nested transaction and drops it, or swallows the error.
    Begin,
    /// Begins a nested transaction in a way that fails, and swallows the error.
    FailedBegin,
    /// Begins a nested transaction, and stops waiting for it at once.
    CancelledBegin,
    /// Waits at the gate.
    Wait,
    /// Waits without end.
    Hang,
    /// Blocks the thread for this long, as a frozen process does.
    Freeze(Duration),
    /// Answers with the task-local value of a middleware, or with nothing.
    TaskLocal,
    /// Counts once after the commit.
    AfterCommit,
    /// After the commit, waits at the gate and then counts.
    AfterCommitGated,
    /// Panics.
    Panic,
}

/// A handler's response.
#[derive(Debug, Clone)]
pub struct Reply {
    /// The status code.
    pub status: u16,
    /// The header lines in order.
    pub headers: Vec<(&'static str, Vec<u8>)>,
    /// The body.
    pub body: Body,
    /// The handler's own choice of the outcome.
    pub settle: Option<Settle>,
}

/// A response in an `Err`.
#[derive(Debug)]
pub struct Failed(pub Reply);

/// Why a handler with steps has failed.
#[derive(Debug)]
pub enum RideError {
    /// A scene says so.
    Failed(Failed),
    /// A step's own error.
    Step(StepError),
}

impl From<StepError> for RideError {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

/// A `Result` under another name.
pub(crate) type Outcome = Result<Reply, Failed>;

/// A response's body.
#[derive(Debug, Clone)]
pub enum Body {
    /// JSON that differs in every execution: label, attempt, and the number of the entry.
    Effect,
    /// Bytes of a known size.
    Bytes(Bytes),
    /// This many bytes in parts, of a size that is not known before.
    Stream(usize),
    /// A first part, and then an error.
    Broken,
    /// A panic at the first poll.
    Panics,
    /// A body that never sends and never ends. It counts its polls.
    Endless(Arc<Control>),
}

impl Body {
    /// The body for a framework: bytes of a known size, or a stream.
    pub(crate) fn sent(self) -> Either<Bytes, BoxStream<'static, io::Result<Bytes>>> {
        match self {
            Self::Effect => Either::Left(Bytes::new()),
            Self::Bytes(bytes) => Either::Left(bytes),
            Self::Stream(mut size) => {
                let parts = std::iter::from_fn(move || {
                    let part = size.min(1000);
                    size -= part;
                    (part > 0).then(|| Ok(Bytes::from(vec![b's'; part])))
                });
                Either::Right(stream::iter(parts).boxed())
            }
            Self::Broken => Either::Right(
                stream::iter([
                    Ok(Bytes::from_static(b"part")),
                    Err(io::Error::other("the scene says so")),
                ])
                .boxed(),
            ),
            Self::Panics => Either::Right(stream::poll_fn(|_| panic!("the scene says so")).boxed()),
            Self::Endless(control) => Either::Right(
                stream::poll_fn(move |_| {
                    control.poll();
                    Poll::Pending
                })
                .boxed(),
            ),
        }
    }
}

impl Act {
    /// SQL that has to succeed.
    pub fn run(sql: impl Into<String>) -> Self {
        Self::Run(sql.into())
    }

    /// SQL whose error is swallowed.
    pub fn swallow(sql: impl Into<String>) -> Self {
        Self::Swallow(sql.into())
    }
}

impl Scene {
    /// One effect, answered with 201.
    pub fn effect() -> Self {
        Self::new([Act::Insert])
    }

    /// One effect after the gate, answered with 201.
    pub fn gated() -> Self {
        Self::new([Act::Insert, Act::Wait])
    }

    /// These acts, answered with 201.
    pub fn new(acts: impl IntoIterator<Item = Act>) -> Self {
        Self {
            acts: acts.into_iter().collect(),
            reply: Reply::new(201),
        }
    }

    /// One effect, answered with `reply`.
    pub fn answering(reply: Reply) -> Self {
        Self::effect().answer(reply)
    }

    /// The same acts and one more.
    #[must_use]
    pub fn then(mut self, act: Act) -> Self {
        self.acts.push(act);
        self
    }

    /// The same acts with another answer.
    #[must_use]
    pub fn answer(self, reply: Reply) -> Self {
        Self { reply, ..self }
    }
}

impl Reply {
    /// The body of an effect as JSON.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            headers: vec![("content-type", b"application/json".to_vec())],
            body: Body::Effect,
            settle: None,
        }
    }

    /// Bytes without a header.
    pub fn bytes(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self {
            headers: Vec::new(),
            body: Body::Bytes(Bytes::copy_from_slice(body.as_ref())),
            ..Self::new(status)
        }
    }

    /// One more header line.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name, value.as_ref().to_owned()));
        self
    }

    /// Another body.
    #[must_use]
    pub fn body(self, body: Body) -> Self {
        Self { body, ..self }
    }

    /// The handler's own choice of the outcome.
    #[must_use]
    pub fn settle(self, settle: Settle) -> Self {
        Self {
            settle: Some(settle),
            ..self
        }
    }
}
