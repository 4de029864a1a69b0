//! The words of an intent, and the request that carries them.

use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Response};
use reqwest::{IntoUrl, Url};
use serde::Serialize;

use crate::Client;
use crate::answer::{Answer, BoxError, Error};
use crate::attempts::{self, Outcome, Transport};
use crate::headers;
use crate::key::Key;

/// One intended effect: an operation, and the business id of its object. See [`Client::once`].
#[derive(Debug, Clone)]
#[must_use = "an intent does nothing until its request is sent"]
pub struct Intent {
    pub(crate) client: Client,
    pub(crate) key: Key,
    pub(crate) failure: Option<&'static str>,
}

impl Intent {
    /// The idempotency key of the intent.
    pub fn key(&self) -> Key {
        self.key
    }

    /// A POST.
    pub fn post(self, url: impl IntoUrl) -> Request {
        self.request(Method::POST, url)
    }

    /// A PUT.
    pub fn put(self, url: impl IntoUrl) -> Request {
        self.request(Method::PUT, url)
    }

    /// A PATCH.
    pub fn patch(self, url: impl IntoUrl) -> Request {
        self.request(Method::PATCH, url)
    }

    /// A DELETE.
    pub fn delete(self, url: impl IntoUrl) -> Request {
        self.request(Method::DELETE, url)
    }

    /// A request with another method.
    pub fn request(self, method: Method, url: impl IntoUrl) -> Request {
        let mut failure = self.failure.map(BoxError::from);
        let url = url.into_url().map_err(|error| {
            failure.get_or_insert(error.into());
        });
        Request {
            client: self.client,
            key: self.key,
            method,
            url: url.ok(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            within: WITHIN,
            failure,
        }
    }
}

/// The deadline of an intent, unless [`Request::within`] sets it.
const WITHIN: Duration = Duration::from_mins(1);

/// The request of an intent. Each attempt sends the same bytes.
#[derive(Debug)]
#[must_use = "a request does nothing until it is sent"]
pub struct Request {
    client: Client,
    key: Key,
    method: Method,
    url: Option<Url>,
    headers: HeaderMap,
    body: Bytes,
    within: Duration,
    /// The first mistake in the request.
    failure: Option<BoxError>,
}

impl Request {
    /// Adds a header. It should be the same whenever the intent is asked about; the service decides which
    /// headers belong to the request's content.
    pub fn header<N, V>(mut self, name: N, value: V) -> Self
    where
        HeaderName: TryFrom<N, Error: Into<http::Error>>,
        HeaderValue: TryFrom<V, Error: Into<http::Error>>,
    {
        match (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            (Ok(name), Ok(value)) => {
                self.headers.append(name, value);
            }
            (Err(error), _) => self.fail(error.into()),
            (_, Err(error)) => self.fail(error.into()),
        }
        self
    }

    /// The header `Authorization: Bearer …`, which is not shown by `Debug`.
    pub fn bearer_auth(mut self, token: impl AsRef<str>) -> Self {
        match HeaderValue::try_from(format!("Bearer {}", token.as_ref())) {
            Ok(mut value) => {
                value.set_sensitive(true);
                self.headers.insert(AUTHORIZATION, value);
            }
            Err(error) => self.fail(error.into()),
        }
        self
    }

    /// A body of bytes. Its type is a [`header`](Self::header).
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// A body of JSON, with its content type.
    pub fn json<T: Serialize + ?Sized>(mut self, body: &T) -> Self {
        match serde_json::to_vec(body) {
            Ok(body) => {
                self.body = body.into();
                let json = HeaderValue::from_static("application/json");
                self.headers.entry(CONTENT_TYPE).or_insert(json);
            }
            Err(error) => {
                self.failure.get_or_insert(error.into());
            }
        }
        self
    }

    /// The time for all attempts together: 60 s, unless it is set.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = time;
        self
    }

    /// Sends the request until there is an answer, or no time is left.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] if the service refuses the key for good; [`Error::Unfinished`] if nobody knows how
    /// the request went; [`Error::Unsent`] if it can't be made.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the request may have had its effect. Ask again in the same words.
    pub async fn send(self) -> Result<Answer, Error> {
        let Self {
            client,
            key,
            method,
            url,
            mut headers,
            body,
            within,
            failure,
        } = self;
        let url = match (failure, url) {
            (None, Some(url)) => url,
            (failure, _) => {
                let failure = failure.unwrap_or_else(|| "the URL is missing".into());
                return Err(Error::Unsent(failure));
            }
        };
        let value = HeaderValue::try_from(key.to_string());
        let value = value.map_err(|error| Error::Unsent(error.into()))?;
        headers.insert(client.header.clone(), value);
        let host = url.origin().ascii_serialization();
        let limits = attempts::Limits {
            within,
            ..client.limits
        };
        let wire = Wire {
            client: &client,
            method,
            url,
            headers,
            body,
        };
        attempts::send(&wire, key, &host, limits, &client.budget).await
    }

    fn fail(&mut self, error: http::Error) {
        self.failure.get_or_insert(error.into());
    }
}

/// The request on reqwest.
struct Wire<'c> {
    client: &'c Client,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Bytes,
}

impl Transport for Wire<'_> {
    async fn attempt(&self, within: Duration) -> Outcome {
        let http = &self.client.http;
        let request = http
            .request(self.method.clone(), self.url.clone())
            .headers(self.headers.clone())
            .body(self.body.clone())
            .timeout(within);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) if error.is_builder() => return Outcome::Unsent(error.into()),
            Err(error) => {
                return Outcome::Lost {
                    is_sent: !error.is_connect(),
                    error: error.into(),
                    lifetime: None,
                };
            }
        };
        self.read(response).await
    }
}

impl Wire<'_> {
    async fn read(&self, mut response: reqwest::Response) -> Outcome {
        let mut body = Vec::new();
        loop {
            match response.chunk().await {
                Ok(None) => break,
                Ok(Some(chunk)) if body.len() + chunk.len() > self.client.response_limit => {
                    return Outcome::TooLong(response.status());
                }
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Err(error) => {
                    return Outcome::Lost {
                        error: error.into(),
                        is_sent: true,
                        lifetime: headers::lifetime(response.headers()),
                    };
                }
            }
        }
        let mut answer = Response::new(Bytes::from(body));
        *answer.status_mut() = response.status();
        *answer.version_mut() = response.version();
        *answer.headers_mut() = std::mem::take(response.headers_mut());
        Outcome::Answer(answer)
    }
}
