//! From a request's head to its turn.

use std::borrow::Cow;
use std::marker::PhantomData;

use super::before_handler::BeforeHandler;
use super::key_source::KeySource;
use crate::canonical::EncodeError;
use crate::config::Config;
use crate::engine::{self, Engine, Prepared, Turn};
use crate::fingerprint::{Binding, Content, Fingerprint, RequestParts, encode_headers};
use crate::key::{IdempotencyKey, KeyPlace};
use crate::observe::{Answer, Observation};
use crate::operation::Operation;
use crate::policy::{Misuse, Policy};
use crate::preference::RespondAsync;
use crate::problem::Problem;
use crate::response::Response;
use crate::store::Store;

/// A request's method and target, in the framework's own types, which clone cheaply.
pub trait RequestHead {
    fn method(&self) -> &str;

    /// The path as routed, prefixes of nested routes included.
    fn path(&self) -> &str;

    fn query(&self) -> Option<&str>;

    /// The route's template, with parameters as in `{id}`; `None` where no route matched.
    fn template(&self) -> Option<Cow<'_, str>>;
}

/// The answer where the application's state has no engine.
pub fn misconfigured() -> Response {
    let answer = Answer::problem(Problem::Misconfigured, &Config::new());
    Observation::nameless().end(answer)
}

/// The answer to a mistake in the application, which is logged.
pub fn misused(misuse: Misuse) -> Response {
    tracing::error!("{misuse}");
    misconfigured()
}

const NOT_KEPT: &str = "its bytes were not kept, as those of a multipart body are not; bind its \
                        content, without `fingerprint = \"raw\"`";

/// Lets a request in: it gets its turn to run, or an answer.
///
/// # Errors
///
/// The answer, where the request does not get to run.
pub async fn admit<S: Store>(engine: &Engine<S>, request: Prepared) -> Result<Turn<S>, Response> {
    engine::admit(engine, request).await
}

/// A request whose head is in order. Its key is where `K` says: in the head, or in an argument that
/// is yet to be extracted.
#[derive(Debug)]
pub struct Admissible<S: Store, H, K> {
    engine: Engine<S>,
    head: H,
    /// The key in the head.
    key: Option<IdempotencyKey>,
    /// The bound headers, encoded.
    headers: Vec<u8>,
    likely_retry: bool,
    respond_async: Option<RespondAsync>,
    source: PhantomData<fn() -> K>,
}

impl<S: Store, H: RequestHead, K: KeySource> Admissible<S, H, K> {
    /// Reads the head of a request, before any extractor runs. `lines` gives the values of a header
    /// by its name, and `bound` names the headers that are bound to the key.
    ///
    /// # Errors
    ///
    /// The answer to a request that is refused without its arguments.
    pub fn new<'h, L>(
        engine: Engine<S>,
        head: H,
        lines: impl Fn(&str) -> L,
        bound: &[&str],
    ) -> Result<Self, Response>
    where
        L: Iterator<Item = &'h [u8]>,
    {
        let method = head.method();
        if method == "HEAD" || method == "GET" && !K::ALLOWS_GET {
            tracing::error!(
                "`#[idempotent]` is on a route for {method}, which is read-only and needs no \
                 idempotency key; remove the attribute, take the key of a GET from an argument, or \
                 answer HEAD by a handler of its own"
            );
            return Err(engine::refuse(&engine, Problem::Misconfigured, None, None));
        }
        let config = &engine.shared.config;
        let key = K::in_head(&lines, config).map_err(|refused| refuse_key(&engine, refused))?;
        let headers = encode_headers(bound, &lines);
        let retry_header = config.retry_header.as_ref();
        let likely_retry =
            retry_header.is_some_and(|name| lines(name.as_str()).any(|count| count != b"0"));
        Ok(Self {
            engine,
            head,
            key,
            headers,
            likely_retry,
            respond_async: RespondAsync::of(lines("prefer")),
            source: PhantomData,
        })
    }

    /// The hook between claim and handler, with the head that it reads.
    pub fn before_handler(&mut self) -> Option<(BeforeHandler<S>, &mut H)> {
        let hook = self.engine.shared.before_handler.clone()?;
        Some((hook, &mut self.head))
    }

    /// The most bytes that a response's body may have.
    pub fn response_limit(&self, policy: &Policy) -> usize {
        self.engine.response_limit(policy)
    }

    /// Lets the request in, once its arguments are extracted. `raw` are the body's bytes, if they
    /// were kept.
    ///
    /// # Errors
    ///
    /// The answer, where the handler is not to run.
    pub async fn admit(
        mut self,
        policy: &'static Policy,
        key: K::Argument,
        scope: Option<String>,
        content: Result<Content, EncodeError>,
        raw: Option<&[u8]>,
    ) -> Result<Turn<S>, Response> {
        self.key = K::with_argument(self.key, key, &self.engine.shared.config)
            .map_err(|refused| refuse_key(&self.engine, refused))?;
        let operation = self.operation(policy)?;
        let content = content.and_then(|content| {
            if raw.is_none() && content.is_of_bytes() {
                return Err(EncodeError::Custom(NOT_KEPT.to_owned()));
            }
            Ok(content)
        });
        let content = match content {
            Ok(content) => content,
            Err(error) => {
                tracing::error!(%error, %operation, "the body can't be fingerprinted");
                return Err(self.misconfigured(Some(&operation)));
            }
        };
        let Self {
            engine,
            head,
            key,
            headers,
            likely_retry,
            respond_async,
            ..
        } = self;
        let patience = respond_async
            .zip(policy.respond_within)
            .map(|(client, limit)| client.patience(limit));
        let parts = RequestParts {
            method: head.method(),
            path: head.path(),
            query: head.query(),
            raw,
        };
        let binding = Binding {
            target: policy.target,
            headers: &headers,
        };
        let secret = engine.shared.config.secret.as_deref();
        let fingerprint = Fingerprint::bound(parts, &content, binding, secret);
        let request = Prepared::new(policy, scope, operation, key, fingerprint)
            .with_likely_retry(likely_retry)
            .with_patience(patience)
            .with_rejected(content.is_rejected(raw));
        engine::admit(&engine, request).await
    }

    /// The operation: the attribute's own name for it, or the one of the route.
    fn operation(&self, policy: &'static Policy) -> Result<Operation, Response> {
        if let Some(name) = policy.operation() {
            return Ok(Operation::named(name));
        }
        let Some(template) = self.head.template() else {
            tracing::error!(
                "no route matched, so the endpoint has no identity; name its `operation`"
            );
            return Err(self.misconfigured(None));
        };
        let operation = Operation::of_route(self.head.method(), &template);
        if self.engine.shared.endpoints.belongs_to(&operation, policy) {
            Ok(operation)
        } else {
            Err(self.misconfigured(Some(&operation)))
        }
    }

    fn misconfigured(&self, operation: Option<&Operation>) -> Response {
        let problem = Problem::Misconfigured;
        engine::refuse(&self.engine, problem, operation, self.key.as_ref())
    }
}

/// Refuses a request for its key.
fn refuse_key<S: Store>(engine: &Engine<S>, (problem, place): (Problem, KeyPlace)) -> Response {
    let answer = Answer::refusal(problem, place, &engine.shared.config);
    Observation::nameless().end(answer)
}
