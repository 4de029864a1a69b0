//! Requests without HTTP, whose futures a test can drop at any poll.

use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use idem_core::store::Claim as _;
use idem_core::{
    Asked, Call, Content, Engine, Fingerprint, IdempotencyKey, Operation, Policy, Ran, Response,
    Store,
};
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
}

impl<S> Clone for Caller<S> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
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
        Self { engine }
    }

    /// Whose requests these are, and what they are for.
    pub fn identity(label: &str) -> idem_core::Identity {
        let key = IdempotencyKey::parse(label.as_bytes()).expect("a key");
        idem_core::Identity::new(Some(TENANT), &Operation::named(OPERATION), &key)
    }

    /// One request: inserts an effect with this label, and ends as the kind says. The label is the
    /// key, too.
    pub async fn call(self, kind: Kind, label: String) -> Answer {
        let asked = Asked {
            method: "POST",
            path: "/fault",
            query: None,
            raw: label.as_bytes(),
        };
        let call = Call {
            scope: Some(TENANT.to_owned()),
            operation: Operation::named(OPERATION),
            key: IdempotencyKey::parse(label.as_bytes()).ok(),
            fingerprint: Fingerprint::new(asked, &Content::Raw, None),
            likely_retry: false,
        };
        let turn = match self.engine.admit(call, &POLICY).await {
            Ok(turn) => turn,
            Err(answer) => return told(answer),
        };
        let work = async move |mut lent: idem_core::Lent<S::Claim>, attempt: idem_core::Attempt| {
            match lent.connection().insert(TENANT, &label).await {
                Ok(()) => {
                    let number = attempt.number();
                    let body = format!(r#"{{"label":"{label}","attempt":{number}}}"#);
                    let mut response = Response::new(Bytes::from(body));
                    *response.status_mut() = StatusCode::from_u16(kind.status()).expect("a status");
                    Ran::Answered {
                        closed: Ok(()),
                        response,
                    }
                }
                Err(error) => Ran::Broken(error.into()),
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
