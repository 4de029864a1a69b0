//! From a delivery to its verdict.

use std::marker::PhantomData;
use std::pin::Pin;

use bytes::Bytes;
use idem_core::adapter::message::{self, Message, answer, consume};
use idem_core::adapter::{
    ClaimGuard, HandlerOutcome, InArgument, KeyArgument, Misuse, Policy, Response, Returned,
    Source, StoreOf,
};
use idem_core::store::Claim;
use idem_core::{Attempt, Content, EncodeError, Engine, Settle, Store, once};

use crate::delivery::{Delivery, FromDelivery, MessageContent, Rejection};
use crate::failure::Failure;
use crate::locate::Locate;
use crate::verdict::{Cause, Failed, Verdict};

/// Runs consumers with a state, which holds the engine.
///
/// The crate's page has an example.
#[derive(Debug, Clone)]
pub struct Consumer<S> {
    state: S,
}

impl<S> Consumer<S> {
    /// Runs consumers that find their engine and their `State` in `state`: the engine itself, or a type of which
    /// the engine is a part by [`FromRef`](crate::FromRef).
    pub fn new(state: S) -> Self {
        Self { state }
    }

    /// Runs `consumer`, a function with `#[idempotent]`, for one delivery.
    ///
    /// The attempt is a part of this future. If it is dropped, the attempt is undone (finished steps stay), unless its
    /// COMMIT was already sent; the next delivery has the outcome. So a consumer can be stopped at any time.
    pub async fn run<H, A, F>(&self, consumer: H, delivery: Delivery) -> Verdict
    where
        H: FnOnce(A) -> F,
        A: Protected<S>,
        F: Future<Output = Verdict>,
    {
        match A::extract(delivery, &self.state) {
            Ok(arguments) => consumer(arguments).await,
            Err(rejection) => {
                let reason = rejection.into_reason();
                tracing::warn!(reason, "a message was rejected");
                Verdict::Dead(Cause::Rejected(reason))
            }
        }
    }
}

/// The arguments of a function with `#[idempotent]`.
#[diagnostic::on_unimplemented(
    message = "not a consumer for the state `{S}`",
    label = "this function is not one, or not for this state",
    note = "a consumer is a function with `#[idempotent]` of `idem_consume`",
    note = "its engine is a part of the state: by `FromRef`, or the state itself",
    note = "`state = {S}` in the attribute lets the compiler name the argument that does not fit"
)]
pub trait Protected<S>: Sized {
    #[doc(hidden)]
    fn extract(delivery: Delivery, state: &S) -> Result<Self, Rejection>;
}

/// The engine of a delivery, in place of a request.
pub struct Preflight<P: Source, K = InArgument>(Engine<StoreOf<P>>, PhantomData<fn() -> K>);

/// A delivery with the arguments that are made of it.
pub struct Extracted<R, A> {
    /// What has the engine.
    pub request: R,
    /// The consumer's arguments.
    pub arguments: A,
    /// The bytes of the message.
    pub raw: Bytes,
}

#[diagnostic::do_not_recommend]
impl<S, P, K, A> Protected<S> for Extracted<Preflight<P, K>, A>
where
    P: Locate<S>,
    A: FromDelivery<S>,
{
    fn extract(delivery: Delivery, state: &S) -> Result<Self, Rejection> {
        Ok(Self {
            request: Preflight(P::locate(&delivery, state)?, PhantomData),
            arguments: A::from_delivery(&delivery, state)?,
            raw: delivery.payload().clone(),
        })
    }
}

/// The content that is bound to the key.
///
/// # Errors
///
/// If it can't be serialized.
pub fn content<T: MessageContent>(argument: &T) -> Result<Content, EncodeError> {
    argument.content()
}

/// The attempt of a consumer.
type Attempting = Pin<Box<dyn Future<Output = HandlerOutcome<Response>> + Send>>;

/// Runs a consumer with its arguments on a claim.
type Work<C, A> = fn(ClaimGuard<C>, Attempt, A) -> Attempting;

/// Hides the type of an attempt.
pub fn attempting<F>(attempt: F) -> Attempting
where
    F: Future<Output = HandlerOutcome<Response>> + Send + 'static,
{
    Box::pin(attempt)
}

/// Runs a consumer once all of its arguments are there.
#[expect(clippy::too_many_arguments, reason = "only generated code calls it")]
pub async fn serve<P, K, C, A>(
    Preflight(engine, _): Preflight<P, K>,
    policy: &'static Policy,
    key: KeyArgument,
    scope: Option<String>,
    content: Result<Content, EncodeError>,
    raw: Bytes,
    arguments: A,
    work: Work<C, A>,
) -> Verdict
where
    P: Source,
    StoreOf<P>: Store<Claim = C, Connection = C::Connection>,
    C: Claim,
    A: Send + 'static,
{
    let message = Message {
        key,
        scope,
        content,
        payload: &raw,
    };
    let work = |claim, attempt| work(claim, attempt, arguments);
    let response = consume(&engine, policy, message, work).await;
    let ended = response.extensions().get::<Ended>().cloned();
    answer(&response, ended.map(|Ended(ended)| ended)).into()
}

/// How a consumer has ended, in the response that stands for it.
#[derive(Debug, Clone)]
struct Ended(Result<(), once::Failure<Failed, String>>);

/// What a consumer returns.
#[diagnostic::on_unimplemented(
    message = "a consumer can't return `{Self}`",
    label = "expected `Result<(), Failure>`",
    note = "a message has no answer: return `Ok(())`, or a `Failure`; `?` makes one of any error"
)]
pub trait ConsumerResult {
    #[doc(hidden)]
    fn into_ended(self) -> Result<(), Failure>;
}

#[diagnostic::do_not_recommend]
impl<E: Into<Failure>> ConsumerResult for Result<(), E> {
    fn into_ended(self) -> Result<(), Failure> {
        self.map_err(Into::into)
    }
}

/// The response that stands for the end of a consumer.
pub fn into_response<R: ConsumerResult>(returned: R) -> Response {
    let ended = returned.into_ended().map_err(Failure::into_inner);
    let (mut response, settle, ended) = match message::record(ended) {
        Ok(recorded) => recorded,
        // Not a thing that a unit and a text can do.
        Err(error) => {
            tracing::error!(%error, "the end of a consumer can't be recorded");
            return Response::default();
        }
    };
    response.extensions_mut().insert(settle);
    response.extensions_mut().insert(Ended(ended));
    response
}

/// How the attempt is settled.
///
/// # Errors
///
/// If the response doesn't say it.
pub fn classify(_: &Policy, response: &Response, _: Returned) -> Result<Settle, Misuse> {
    let settle = response.extensions().get::<Settle>().copied();
    settle.ok_or(Misuse::Unrecordable)
}

/// Compiles if the state of the consumer holds the engine.
pub const fn assert_held<S, E: crate::FromRef<S>>() {}

/// Compiles if the argument can be made with the state of the consumer.
pub const fn assert_extracted<T: FromDelivery<S>, S>() {}
