//! What the adapters of all web frameworks share: from a request's head to the attempt's turn.
//!
//! Hidden: it is for idem's own adapters, and nothing in it is stable.
#![allow(missing_docs)]

use std::marker::PhantomData;
use std::ops::Deref;

use serde::Serialize;

use crate::attempt::Attempt;
use crate::call::Call;
use crate::canonical::EncodeError;
use crate::engine::{Engine, Lent, Turn};
use crate::fingerprint::{Content, Fingerprint, RequestParts};
use crate::key::IdempotencyKey;
use crate::observe::{self, Answer};
use crate::operation::Operation;
use crate::policy::Policy;
use crate::problem::{DEFAULT_BASE, Problem};
use crate::provider::Provider;
use crate::response::Response;
use crate::scope::Scope;
use crate::store::{BoxError, Claim, Store};
use crate::transaction::Transaction;

/// Which part of the state holds the engine.
///
/// A type of its own, and not a projection in the handler's signature: on a signature with
/// `<sqlx::Transaction<'_, _> as Transaction>::Store` in it, incremental builds with rustc 1.95 can
/// crash (<https://github.com/rust-lang/rust/issues/155740>).
pub trait Source {
    type Provider: Provider;
}

/// The store behind a source.
pub type StoreOf<P> = <<P as Source>::Provider as Provider>::Store;

/// The engine for a handler's transaction.
#[derive(Debug)]
pub struct Of<T>(PhantomData<fn() -> T>);

impl<T: Transaction> Source for Of<T> {
    type Provider = Engine<T::Store>;
}

/// The engine that `store = …` names.
#[derive(Debug)]
pub struct Named<P>(PhantomData<fn() -> P>);

impl<P: Provider> Source for Named<P> {
    type Provider = P;
}

/// What is read of a request before any extractor of the handler runs.
#[derive(Debug, Clone)]
pub struct Head {
    pub method: String,
    /// As received, prefixes of nested routes included.
    pub path: String,
    pub query: Option<String>,
    /// The route's template, with parameters as in `{id}`; `None` where no route matched.
    pub template: Option<String>,
}

/// The answer where the application's state has no engine.
pub fn misconfigured() -> Response {
    Answer::problem(Problem::Misconfigured, DEFAULT_BASE).observed(&observe::span(None))
}

/// A request whose key is in order.
#[derive(Debug)]
pub struct Admissible<S> {
    pub engine: Engine<S>,
    key: Option<IdempotencyKey>,
    head: Head,
    likely_retry: bool,
}

impl<S: Store> Admissible<S> {
    /// Looks at a request for the first time. `lines` gives the values of a header by its name;
    /// `optional` lets a request without a key pass.
    ///
    /// # Errors
    ///
    /// The answer to a request that needs no extractor to be refused.
    pub fn new<'h, L>(
        engine: &Engine<S>,
        head: Head,
        lines: impl Fn(&str) -> L,
        optional: bool,
    ) -> Result<Self, Response>
    where
        L: Iterator<Item = &'h [u8]>,
    {
        let refuse = |problem| Err(engine.refuse(problem));
        if head.method == "GET" || head.method == "HEAD" {
            let method = &head.method;
            tracing::error!("`#[idempotent]` is on a route for {method}, which is read-only");
            return refuse(Problem::Misconfigured);
        }
        let config = engine.config();
        let key = match IdempotencyKey::from_lines(lines(config.header().as_str())) {
            Ok(None) if !optional => return refuse(Problem::KeyMissing),
            Ok(key) => key,
            Err(error) => return refuse(Problem::KeyMalformed(error)),
        };
        let retry_header = config.retry_header();
        let likely_retry =
            retry_header.is_some_and(|name| lines(name.as_str()).any(|count| count != b"0"));
        Ok(Self {
            engine: engine.clone(),
            key,
            head,
            likely_retry,
        })
    }

    /// Lets the request in, once its arguments are extracted.
    ///
    /// # Errors
    ///
    /// The answer, where the handler is not to run.
    pub async fn admit(
        self,
        policy: &'static Policy,
        scope: Option<String>,
        content: Result<Content, EncodeError>,
        raw: &[u8],
    ) -> Result<Turn<S>, Response> {
        let Self { engine, head, .. } = self;
        let named = policy.operation().map(Operation::named);
        let route = || Some(Operation::of_route(&head.method, head.template.as_ref()?));
        let Some(operation) = named.or_else(route) else {
            tracing::error!(
                "no route matched, so the endpoint has no identity; name its `operation`"
            );
            return Err(engine.refuse(Problem::Misconfigured));
        };
        let content = match content {
            Ok(content) => content,
            Err(error) => {
                tracing::error!(%error, %operation, "the body can't be fingerprinted");
                return Err(engine.refuse(Problem::Misconfigured));
            }
        };
        let asked = RequestParts {
            method: &head.method,
            path: &head.path,
            query: head.query.as_deref(),
            raw,
        };
        let secret = engine.config().fingerprint_secret();
        let call = Call {
            scope,
            operation,
            key: self.key,
            fingerprint: Fingerprint::new(asked, &content, secret),
            likely_retry: self.likely_retry,
        };
        engine.admit(call, policy).await
    }
}

pub const fn assert_store<P, T>()
where
    P: Provider,
    P::Store: Store<Connection = T::Connection>,
    T: Transaction + ?Sized,
{
}

#[diagnostic::on_unimplemented(
    message = "`&{Self}` is no argument of a handler",
    label = "expected `&Attempt`",
    note = "an argument taken by `&mut` is the transaction, one taken by `&` is the attempt, all others are extractors"
)]
pub trait IsAttempt {
    fn lend(attempt: &Attempt) -> &Self;
}

impl IsAttempt for Attempt {
    fn lend(attempt: &Attempt) -> &Self {
        attempt
    }
}

pub fn attempt<T: IsAttempt + ?Sized>(attempt: &Attempt) -> &T {
    T::lend(attempt)
}

/// What the scope is taken from: a [`Scope`], or an extractor that points to one. An inherent
/// method wins over one of a trait where its bounds hold.
#[derive(Debug)]
pub struct Whose<'a, T: ?Sized>(pub &'a T);

impl<T: Scope + ?Sized> Whose<'_, T> {
    pub fn scope(&self) -> String {
        self.0.scope().into_owned()
    }
}

pub trait Behind<T: ?Sized> {
    fn scope(&self) -> String
    where
        T: PointsToScope;
}

impl<T: ?Sized> Behind<T> for Whose<'_, T> {
    fn scope(&self) -> String
    where
        T: PointsToScope,
    {
        self.0.scope_behind()
    }
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a scope",
    label = "this type does not say whose keys these are",
    note = "implement `Scope` for it, or name a field that is a string or an integer, such as `scope = \"claims.tenant_id\"`"
)]
pub trait PointsToScope {
    fn scope_behind(&self) -> String;
}

#[diagnostic::do_not_recommend]
impl<P> PointsToScope for P
where
    P: Deref + ?Sized,
    P::Target: Scope,
{
    fn scope_behind(&self) -> String {
        self.deref().scope().into_owned()
    }
}

pub fn content_of<T: Serialize + ?Sized>(intent: &T) -> Result<Content, EncodeError> {
    Content::of(intent)
}

pub fn content_raw() -> Result<Content, EncodeError> {
    Ok(Content::Raw)
}

pub fn content_none() -> Result<Content, EncodeError> {
    Ok(Content::None)
}

pub fn connection<C: Claim>(claim: &mut C) -> &mut C::Connection {
    claim.connection()
}

/// What the generated code hands back: how the transaction was closed, and the handler's response.
pub type Handled<R> = Result<(Result<(), BoxError>, R), BoxError>;

pub fn not_opened<R>(error: BoxError) -> Handled<R> {
    Err(error)
}

/// Whether a body of this type has no end.
pub fn is_endless(content_type: &[u8]) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    let kind = content_type.get(..EVENT_STREAM.len());
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(EVENT_STREAM))
}

#[allow(clippy::unused_async)]
pub async fn ran<C, R>(_: Lent<C>, closed: Result<(), BoxError>, response: R) -> Handled<R> {
    Ok((closed, response))
}
