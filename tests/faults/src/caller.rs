//! Requests without HTTP. A test can drop their futures at any poll.

use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use idem_core::adapter::{
    self, ClaimGuard, Fingerprint, HandlerOutcome, Policy, Prepared, RequestParts, Response,
    Returned,
};
use idem_core::store::{BoxError, Claim as _, Identity};
use idem_core::{Attempt, Content, Engine, IdempotencyKey, Operation, Store};
use idem_tests::{Answer, Domain};

use crate::kind::Kind;

/// The operation of every request.
const OPERATION: &str = "fault";
const TENANT: &str = "acme";

static POLICY: Policy = Policy::new(Duration::from_hours(24))
    .with_wait(Duration::from_secs(5))
    .with_deadline(Duration::from_secs(1));

/// An engine that is called without HTTP.
#[derive(Debug)]
pub struct Caller<S: Store> {
    engine: Engine<S>,
    policy: &'static Policy,
}

/// The content of a request.
#[derive(Debug, Clone)]
pub struct Asking {
    /// The owner of the key.
    pub tenant: String,
    /// The key.
    pub key: String,
    /// The request's body.
    pub body: String,
    /// The label of the effect that the handler inserts.
    pub label: String,
}

impl Asking {
    /// A request whose key, body and label are this.
    pub fn of(label: String) -> Self {
        Self {
            tenant: TENANT.to_owned(),
            key: label.clone(),
            body: label.clone(),
            label,
        }
    }

    /// The identity of the request: tenant, operation and key.
    pub fn identity(&self) -> Identity {
        let (tenant, operation, key) = self.parts();
        Identity::new(Some(tenant), &operation, &key)
    }

    /// Tenant, operation and key.
    pub fn parts(&self) -> (&str, Operation, IdempotencyKey) {
        let key = IdempotencyKey::parse(self.key.as_bytes()).expect("a key");
        (&self.tenant, Operation::named(OPERATION), key)
    }

    fn request(&self, policy: &'static Policy) -> Prepared {
        let asked = RequestParts {
            method: "POST",
            path: "/fault",
            query: None,
            raw: Some(self.body.as_bytes()),
        };
        Prepared::new(
            policy,
            Some(self.tenant.clone()),
            Operation::named(OPERATION),
            IdempotencyKey::parse(self.key.as_bytes()).ok(),
            Fingerprint::new(asked, &Content::Raw, None),
        )
    }
}

impl<S: Store> Clone for Caller<S> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            policy: self.policy,
        }
    }
}

impl<S: Store> Caller<S> {
    /// Calls this engine.
    pub fn of(engine: Engine<S>) -> Self {
        Self::with_policy(engine, &POLICY)
    }

    /// Calls this engine, under a policy.
    pub fn with_policy(engine: Engine<S>, policy: &'static Policy) -> Self {
        Self { engine, policy }
    }

    /// The identity of a request by [`call`](Self::call).
    pub fn identity(label: &str) -> Identity {
        Asking::of(label.to_owned()).identity()
    }

    /// Sends one request. Its handler gets its connection, or its steps, and the number of the attempt.
    /// It answers with a status and a body, or it breaks.
    pub async fn run(
        self,
        asking: Asking,
        handle: impl AsyncFnOnce(&mut S::Connection, u32) -> Result<(u16, String), BoxError>,
    ) -> Answer {
        let turn = match adapter::admit(&self.engine, asking.request(self.policy)).await {
            Ok(turn) => turn,
            Err(answer) => return answered(answer),
        };
        let work = async move |mut claim: ClaimGuard<S::Claim>, attempt: Attempt| {
            let (status, body) = match handle(claim.connection(), attempt.number()).await {
                Ok(answer) => answer,
                Err(error) => return HandlerOutcome::Broken(error),
            };
            let mut response = Response::new(Bytes::from(body));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            HandlerOutcome::Answered {
                settle: self
                    .policy
                    .classify(response.status(), None, Returned::Value),
                response,
                closed: Ok(()),
            }
        };
        answered(turn.run(work).await)
    }
}

impl<S> Caller<S>
where
    S: Store,
    S::Connection: Domain,
{
    /// Sends one request. Its handler inserts an effect with this label, and ends as the kind says.
    /// The label is also the key.
    pub async fn call(self, kind: Kind, label: String) -> Answer {
        let asking = Asking::of(label.clone());
        let end = move |number| {
            let body = format!(r#"{{"label":"{label}","attempt":{number}}}"#);
            ready((kind.status(), body))
        };
        self.ask(asking, end).await
    }

    /// Sends one request. Its handler inserts an effect, and then answers with the status and the
    /// body from `end`, which gets the number of the attempt.
    pub async fn ask<F>(self, asking: Asking, end: impl FnOnce(u32) -> F) -> Answer
    where
        F: Future<Output = (u16, String)>,
    {
        let Asking { tenant, label, .. } = asking.clone();
        let handle = async move |connection: &mut S::Connection, number| {
            connection.insert(&tenant, &label).await?;
            Ok(end(number).await)
        };
        self.run(asking, handle).await
    }
}

fn answered(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    Answer {
        status: parts.status.as_u16(),
        headers: headers.collect(),
        body,
    }
}
