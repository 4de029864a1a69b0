//! Requests without HTTP, whose futures a test can drop at any poll.

use std::future::ready;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use idem_core::adapter::{
    self, Fingerprint, HandlerOutcome, Policy, Prepared, RequestParts, Response,
};
use idem_core::store::Claim as _;
use idem_core::store::Identity;
use idem_core::{Content, Engine, IdempotencyKey, Operation, Store};
use idem_tests::{Answer, Domain};

use crate::kind::Kind;

/// What every request is for.
const OPERATION: &str = "fault";
const TENANT: &str = "acme";

static POLICY: Policy = Policy::new(Duration::from_hours(24))
    .with_wait(Duration::from_secs(5))
    .with_deadline(Duration::from_secs(1));

/// An engine, asked directly.
#[derive(Debug)]
pub struct Caller<S> {
    engine: Engine<S>,
    policy: &'static Policy,
}

/// What is asked.
#[derive(Debug, Clone)]
pub struct Asking {
    /// Whose key it is.
    pub tenant: String,
    /// The key.
    pub key: String,
    /// The request's body.
    pub body: String,
    /// The label of the effect that the handler inserts.
    pub label: String,
}

impl Asking {
    fn of(label: String) -> Self {
        Self {
            tenant: TENANT.to_owned(),
            key: label.clone(),
            body: label.clone(),
            label,
        }
    }

    /// Whose requests these are, and what they are for.
    pub fn identity(&self) -> Identity {
        let key = IdempotencyKey::parse(self.key.as_bytes()).expect("a key");
        Identity::new(Some(&self.tenant), &Operation::named(OPERATION), &key)
    }

    fn request(&self, policy: &'static Policy) -> Prepared {
        let asked = RequestParts {
            method: "POST",
            path: "/fault",
            query: None,
            raw: self.body.as_bytes(),
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

impl<S> Clone for Caller<S> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            policy: self.policy,
        }
    }
}

impl<S> Caller<S>
where
    S: Store,
    S::Connection: Domain,
{
    /// Asks this one.
    pub fn of(engine: Engine<S>) -> Self {
        Self::with_policy(engine, &POLICY)
    }

    /// Asks this one, under a policy.
    pub fn with_policy(engine: Engine<S>, policy: &'static Policy) -> Self {
        Self { engine, policy }
    }

    /// The identity of what [`call`](Self::call) asks.
    pub fn identity(label: &str) -> Identity {
        Asking::of(label.to_owned()).identity()
    }

    /// One request: inserts an effect with this label, and ends as the kind says. The label is the
    /// key, too.
    pub async fn call(self, kind: Kind, label: String) -> Answer {
        let asking = Asking::of(label.clone());
        let end = move |number| {
            let body = format!(r#"{{"label":"{label}","attempt":{number}}}"#);
            ready((kind.status(), body))
        };
        self.ask(asking, end).await
    }

    /// One request, whose handler inserts an effect and then ends with the status and the body that
    /// `end` makes for the number of the attempt.
    pub async fn ask<F>(self, asking: Asking, end: impl FnOnce(u32) -> F) -> Answer
    where
        F: Future<Output = (u16, String)>,
    {
        let turn = match adapter::admit(&self.engine, asking.request(self.policy)).await {
            Ok(turn) => turn,
            Err(answer) => return told(answer),
        };
        let work = async move |mut claim: idem_core::adapter::ClaimGuard<S::Claim>,
                               attempt: idem_core::Attempt| {
            let Asking { tenant, label, .. } = &asking;
            if let Err(error) = claim.connection().insert(tenant, label).await {
                return HandlerOutcome::Broken(error.into());
            }
            let (status, body) = end(attempt.number()).await;
            let mut response = Response::new(Bytes::from(body));
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            HandlerOutcome::Answered {
                closed: Ok(()),
                response,
            }
        };
        told(turn.run(work).await)
    }
}

fn told(response: Response) -> Answer {
    let (parts, body) = response.into_parts();
    let headers = parts.headers.iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    Answer {
        status: parts.status.as_u16(),
        headers: headers.collect(),
        body,
    }
}
