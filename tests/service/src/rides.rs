//! A ride in steps: two transactions of its own database, and two calls between them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::bail;
use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use idem_axum::{Attempt, Recovered, StepKey, Steps};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

use crate::api::{ApiError, App, Bank, Tenant};
use crate::ledger::Leg;

/// The request for a ride.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewRide {
    note: String,
}

/// A ride that is paid.
#[derive(Debug, Serialize)]
pub(crate) struct Ride {
    note: String,
    charge: String,
    receipt: String,
    /// The attempt that answers, and when its handler was entered, in microseconds since 1970.
    attempt: u32,
    entered_at: u128,
}

impl<C: Bank> App<C> {
    /// Works in each `commit` step, and after each step.
    pub(crate) async fn ride(
        &self,
        steps: &mut Steps<C>,
        attempt: &Attempt,
        tenant: &Tenant,
        new: &NewRide,
    ) -> Result<Ride, ApiError> {
        let entered_at = SystemTime::now().duration_since(UNIX_EPOCH);
        let entered_at = entered_at.unwrap_or_default().as_micros();
        let attempt = attempt.number();
        let leg = |step| Leg {
            note: &new.note,
            step,
            attempt,
        };
        steps
            .commit("ride", async |tx| self.leg(tx, leg("ride")).await)
            .await?;
        sleep(self.work).await;
        let charge = steps
            .call("charge", async |key| {
                self.provider.charge(&key, &tenant.0).await
            })
            .await?;
        sleep(self.work).await;
        let receipt = steps
            .call_once(
                "receipt",
                async |key| self.sender.charge(&key, &tenant.0).await,
                async |key| self.sender.find(&key).await,
            )
            .await?;
        sleep(self.work).await;
        steps
            .commit("paid", async |tx| self.leg(tx, leg("paid")).await)
            .await?;
        sleep(self.work).await;
        Ok(Ride {
            note: new.note.clone(),
            charge,
            receipt,
            attempt,
            entered_at,
        })
    }

    async fn leg(&self, tx: &mut C, leg: Leg<'_>) -> Result<(), ApiError> {
        tx.leg(leg).await?;
        sleep(self.work).await;
        Ok(())
    }
}

/// Another service: the provider of `examples/rides`.
#[derive(Clone)]
pub struct Peer {
    client: Client<HttpConnector, Body>,
    url: String,
}

#[derive(Deserialize)]
struct Charge {
    id: String,
}

impl Peer {
    /// Shorter than the `deadline` of the handler that waits.
    const TIMEOUT: Duration = Duration::from_secs(2);

    const LIMIT: usize = 64 * 1024;

    pub(crate) fn new(url: &str) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        let url = url.to_owned();
        Self { client, url }
    }

    /// The number of a charge. An error says nothing: it may have happened.
    async fn charge(&self, key: &StepKey, customer: &str) -> Result<String, ApiError> {
        let body = format!(r#"{{"customer":"{customer}","amount":1}}"#);
        let request = Request::post(format!("{}/charges", self.url))
            .header("idempotency-key", &**key)
            .header("fencing-token", key.epoch())
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(body));
        let (status, body) = self.send(request).await?;
        if status != StatusCode::CREATED {
            return Err(ApiError::Peer(anyhow::anyhow!("{status}")));
        }
        let charge: Charge = serde_json::from_slice(&body).map_err(anyhow::Error::from)?;
        Ok(charge.id)
    }

    /// Absence is a proof, as the peer refuses earlier attempts from here on.
    async fn find(&self, key: &StepKey) -> Result<Recovered<String>, ApiError> {
        let request = Request::get(format!("{}/charges/{}", self.url, &**key))
            .header("fencing-token", key.epoch())
            .body(Body::empty());
        let (status, body) = self.send(request).await?;
        if status == StatusCode::NOT_FOUND {
            return Ok(Recovered::Absent);
        }
        let charges: Vec<Charge> = serde_json::from_slice(&body).map_err(anyhow::Error::from)?;
        let first = charges.into_iter().next();
        Ok(first.map_or(Recovered::Unknown, |charge| Recovered::Found(charge.id)))
    }

    async fn send(
        &self,
        request: axum::http::Result<Request<Body>>,
    ) -> anyhow::Result<(StatusCode, axum::body::Bytes)> {
        let answer = async {
            let (head, body) = self.client.request(request?).await?.into_parts();
            let body = to_bytes(Body::new(body), Self::LIMIT).await?;
            Ok((head.status, body))
        };
        match timeout(Self::TIMEOUT, answer).await {
            Ok(answer) => answer,
            Err(elapsed) => bail!(elapsed),
        }
    }
}

impl From<anyhow::Error> for ApiError {
    fn from(error: anyhow::Error) -> Self {
        tracing::warn!(error = %format!("{error:#}"), "the call is not confirmed");
        Self::Peer(error)
    }
}
