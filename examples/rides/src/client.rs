//! The service's client of the payment provider.

use std::time::Duration;

use anyhow::{Context as _, bail};
use axum::body::{Body, to_bytes};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use provider::{Charge, NewCharge};

/// Shorter than the `deadline` of the handler that waits.
const TIMEOUT: Duration = Duration::from_secs(5);

const LIMIT: usize = 64 * 1024;

#[derive(Clone)]
pub(crate) struct ProviderClient {
    client: Client<HttpConnector, Body>,
    url: String,
}

impl ProviderClient {
    pub(crate) fn new(url: String) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { client, url }
    }

    /// A declined card is an answer. An error says nothing: the provider may have charged.
    pub(crate) async fn charge(&self, key: &str, new: &NewCharge) -> anyhow::Result<Charge> {
        let request = Request::post(format!("{}/charges", self.url))
            .header("idempotency-key", key)
            .header(CONTENT_TYPE, "application/json")
            .body(Body::from(serde_json::to_vec(new)?))?;
        let answer = async {
            let response = self.client.request(request).await?;
            let (head, body) = response.into_parts();
            match head.status {
                StatusCode::CREATED | StatusCode::PAYMENT_REQUIRED => {}
                status => bail!("the provider answered {status}"),
            }
            let body = to_bytes(Body::new(body), LIMIT).await?;
            Ok(serde_json::from_slice(&body)?)
        };
        let answer = tokio::time::timeout(TIMEOUT, answer).await;
        answer.context("the provider did not answer in time")?
    }
}
