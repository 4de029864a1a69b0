//! The names that both adapters have.

use std::error::Error;
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
pub(crate) use std::time::Duration;

pub(crate) type Response = String;
type BoxError = Box<dyn Error + Send + Sync>;

pub(crate) struct Of<T>(PhantomData<fn() -> T>);
pub(crate) struct Named<P>(PhantomData<fn() -> P>);
pub(crate) struct CalledByTheFramework<P>(PhantomData<fn() -> P>);

impl<P> CalledByTheFramework<P> {
    pub(crate) const fn new() -> Self {
        Self(PhantomData)
    }
}

pub(crate) struct Policy {
    ttl: Duration,
}

impl Policy {
    pub(crate) const fn new(ttl: Duration) -> Self {
        Self { ttl }
    }
}

/// The events of one request.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<String>>>);

impl Events {
    fn add(&self, event: impl Into<String>) {
        self.0.lock().expect("the events").push(event.into());
    }

    fn list(&self) -> String {
        self.0.lock().expect("the events").join(", ")
    }
}

pub(crate) struct Connection {
    pub(crate) events: Events,
    opens: bool,
}

/// Returned to the engine when it is dropped.
pub(crate) struct Claim(Connection);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.events.add("returned");
    }
}

impl AsMut<Connection> for Claim {
    fn as_mut(&mut self) -> &mut Connection {
        &mut self.0
    }
}

pub(crate) fn connection<C: AsMut<Connection>, T>(claim: &mut C) -> &mut Connection {
    claim.as_mut()
}

/// A transaction that borrows the connection, as sqlx's does.
pub(crate) struct Savepoint<'c>(&'c mut Connection);

impl Savepoint<'_> {
    pub(crate) fn write(&mut self, event: impl Into<String>) {
        self.0.events.add(event);
    }
}

pub(crate) trait Transaction {
    const IS_LEASED: bool = false;
}

impl Transaction for Savepoint<'_> {}

pub(crate) trait Open<'c> {
    type Opened: Send;

    fn open(
        connection: &'c mut Connection,
    ) -> impl Future<Output = Result<Self::Opened, BoxError>> + Send;

    fn lend<'r>(opened: &'r mut Self::Opened) -> &'r mut Self
    where
        'c: 'r;

    fn close(opened: Self::Opened, keep: bool)
    -> impl Future<Output = Result<(), BoxError>> + Send;
}

impl<'c> Open<'c> for Savepoint<'c> {
    type Opened = Self;

    async fn open(connection: &'c mut Connection) -> Result<Self, BoxError> {
        if !connection.opens {
            return Err("not opened".into());
        }
        Ok(Self(connection))
    }

    fn lend<'r>(opened: &'r mut Self) -> &'r mut Self
    where
        'c: 'r,
    {
        opened
    }

    async fn close(opened: Self, keep: bool) -> Result<(), BoxError> {
        opened.0.events.add(format!("closed {keep}"));
        Ok(())
    }
}

pub(crate) struct Store<T>(PhantomData<T>);

pub(crate) struct Attempt;

pub(crate) fn attempt<T>(attempt: &Attempt) -> &T
where
    Attempt: AsRef<T>,
{
    attempt.as_ref()
}

impl AsRef<Self> for Attempt {
    fn as_ref(&self) -> &Self {
        self
    }
}

pub(crate) trait Scope {
    fn text(&self) -> String;
}

impl Scope for str {
    fn text(&self) -> String {
        self.to_owned()
    }
}

pub(crate) struct ScopeProbe<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: Scope + ?Sized> ScopeProbe<'_, T> {
    pub(crate) fn scope(&self) -> String {
        self.0.text()
    }
}

pub(crate) trait ScopeByDeref {
    fn scope(&self) -> String;
}

impl<T: Deref<Target: Scope> + ?Sized> ScopeByDeref for ScopeProbe<'_, T> {
    fn scope(&self) -> String {
        self.0.deref().text()
    }
}

pub(crate) trait NoScope {}

pub(crate) type Content = String;

pub(crate) fn content<T: ToString>(body: &T) -> Content {
    format!("body {}", body.to_string())
}

pub(crate) fn content_of<T: ToString>(value: &T) -> Content {
    format!("value {}", value.to_string())
}

/// No argument is an `Err`.
pub(crate) fn unless_rejected<const COUNT: usize>(
    content: Content,
    arguments: [bool; COUNT],
) -> Content {
    assert!(arguments.iter().all(|is_value| *is_value));
    content
}

pub(crate) fn content_raw() -> Content {
    "raw".to_owned()
}

pub(crate) fn content_none() -> Content {
    "none".to_owned()
}

/// A returned value that is asked whether it is an `Err`.
pub(crate) struct ReturnProbe<'a, R>(pub(crate) &'a R);

impl<T, E> ReturnProbe<'_, Result<T, E>> {
    pub(crate) fn returned(&self) -> bool {
        self.0.is_ok()
    }
}

pub(crate) trait AnyReturned {
    fn returned(&self) -> bool;
}

impl<R> AnyReturned for ReturnProbe<'_, R> {
    fn returned(&self) -> bool {
        true
    }
}

pub(crate) fn keeps(settle: bool) -> bool {
    settle
}

pub(crate) enum HandlerOutcome<R> {
    Answered {
        response: R,
        settle: bool,
        closed: Result<(), BoxError>,
    },
    Broken(BoxError),
}

type Attempting = Pin<Box<dyn Future<Output = HandlerOutcome<Response>> + Send>>;

pub(crate) fn attempting<F>(attempt: F) -> Attempting
where
    F: Future<Output = HandlerOutcome<Response>> + Send + 'static,
{
    Box::pin(attempt)
}

/// Runs the attempt, and answers with its events. A transaction is opened unless the body's bytes are `broken`.
#[expect(clippy::too_many_arguments, reason = "only generated code calls it")]
pub(crate) async fn serve<P, A>(
    _: CalledByTheFramework<P>,
    policy: &'static Policy,
    (): (),
    scope: Option<String>,
    content: Content,
    raw: &'static str,
    arguments: A,
    work: fn(Claim, Attempt, A) -> Attempting,
) -> Response
where
    A: Send + 'static,
{
    let events = Events::default();
    let scope = scope.unwrap_or_default();
    events.add(format!("{}s [{scope}] {content}", policy.ttl.as_secs()));
    let claim = Claim(Connection {
        events: events.clone(),
        opens: raw != "broken",
    });
    // The future lives on after its output is there, as it may in an adapter.
    let mut attempt = work(claim, Attempt, arguments);
    match attempt.as_mut().await {
        HandlerOutcome::Answered {
            response,
            settle,
            closed,
        } => {
            closed.expect("a closed transaction");
            assert_eq!(settle, !response.contains("failed"));
            events.add(response);
        }
        HandlerOutcome::Broken(error) => events.add(error.to_string()),
    }
    events.list()
}
