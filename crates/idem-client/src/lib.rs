//! A client for endpoints with idempotency keys, on [`reqwest`].
//!
//! An intent has words: a key space, an operation, and the business id of its object. Its idempotency key
//! is derived from them ([`Key`]), so it is the same on each attempt, in each process, and after a restart.
//! Nothing has to be stored before the request. [Clients in every
//! language](https://docs.rs/idem-core/latest/idem_core/_documentation/clients/index.html) has files to copy for Python and
//! TypeScript, whose keys are the same.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use idem_client::{Client, Error};
//!
//! # #[derive(serde::Serialize)]
//! # struct Payment { invoice: u64, amount: u64 }
//! # async fn example(payment: Payment) -> Result<(), Box<dyn std::error::Error>> {
//! let payments = Client::new(reqwest::Client::builder(), "orders.example/prod")?;
//! let paid = payments
//!     .once("pay-invoice", payment.invoice)
//!     .post("https://ledger.example/payments")
//!     .bearer_auth("token")
//!     .json(&payment)
//!     .within(Duration::from_secs(60))
//!     .send()
//!     .await;
//! match paid {
//!     Ok(answer) if answer.status().is_success() => println!("paid, after {} attempts", answer.attempts),
//!     Ok(answer) => println!("the ledger's own no: {}", answer.status()),
//!     Err(Error::Refused(refused)) => println!("{refused}; new words: {}", refused.safe_new_key),
//!     Err(Error::Unfinished(unknown)) => println!("{unknown}; ask again later, in the same words"),
//!     Err(error) => return Err(error.into()),
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # Three outcomes
//!
//! | outcome | meaning | what to do |
//! |---|---|---|
//! | `Ok(`[`Answer`]`)` | the application has answered, with any status | as for any HTTP answer |
//! | [`Error::Refused`] | the service's protection refuses the request, and will refuse it again | mend the request; other words if [`safe_new_key`](Refused::safe_new_key) |
//! | [`Error::Unfinished`] | nobody knows | keep the intent, and ask again in the same words, within the endpoint's TTL |
//!
//! [`Error::Unsent`] is a mistake in the request itself: nothing was sent.
//!
//! A refusal is a problem document with the members `retryable: false` and `safe_new_key`, as
//! [idem](https://docs.rs/idem-core/latest/idem_core/problem/) writes it. All other statuses are the
//! application's.
//!
//! An answer after an attempt without one has to say something about that attempt. A success does, and so
//! does an answer that the service has recorded (`Idempotency-Expires`). A 401 because the token has expired
//! in the meantime does not: it is `Unfinished`.
//!
//! # Words
//!
//! - **The key space** separates everybody who sends keys to one account of a service: the application and its
//!   environment, such as `orders.example/prod`.
//! - **The operation** names the effect, not the URL: `pay-invoice`, `refund-invoice`.
//! - **The business id** is that of the object which has the effect at most once. If an invoice may be paid in
//!   parts, it is the id of the part. A second effect that is wanted needs another id.
//!
//! Body, path and query must be the same whenever the intent is sent: the service refuses another request
//! with the key (`key-reused`). So take them from stored data, without the current time.
//!
//! # Retries
//!
//! | the attempt ends with | next |
//! |---|---|
//! | no answer: no connection, a timeout, an answer that breaks off | again |
//! | 408, 425, 429, 5xx | again |
//! | 409, if it is the problem `in-flight` | again |
//! | 202 with `Preference-Applied: respond-async`, for a request with `Prefer: respond-async` | again, without a pause of its own |
//! | a problem document with `retryable: false`, or a recorded answer | final, with any status |
//! | any other answer | final |
//!
//! - Between two attempts there is a random pause ("full jitter") of at most [`Client::with_pauses`], and of at
//!   least `Retry-After`, in seconds or as a date.
//! - The number of attempts has no limit. [`Request::within`] is the time for all of them, and
//!   [`Client::with_attempt_timeout`] for one. An attempt that is given up here goes on at the service, and the
//!   next one gets its answer.
//! - A budget for each host ([`Client::with_retry_budget`]) limits the retries of all intents together, so that a
//!   service in trouble is not kept there. Asking again after a 202 is not counted.
//! - Once the service has said when its record expires, there is no retry after that time: it would be a new
//!   request.
//! - Redirects are not followed: a redirect is an answer. Otherwise a key could have an effect at two hosts.
//!
//! An answer whose length is not given (neither `Content-Length` nor chunks) can break off without a sign; idem's
//! answers are not of that kind.
//!
//! # TLS and other features
//!
//! This crate needs no feature of reqwest. Choose them in your own manifest:
//! `reqwest = { version = "0.13", features = ["rustls"] }`.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use http::header::InvalidHeaderName;

use self::attempts::Limits;
use self::budget::Budget;

mod answer;
mod attempts;
mod budget;
mod headers;
mod key;
mod problem;
mod request;

pub use self::answer::{Answer, Error, Last, Refused, Unfinished};
pub use self::key::Key;
pub use self::problem::Problem;
pub use self::request::{Intent, Request};

/// Sends intents of one key space. A clone shares its connections and its budget.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    space: Arc<str>,
    header: HeaderName,
    limits: Limits,
    response_limit: usize,
    budget: Arc<Budget>,
}

impl Client {
    /// A client for a key space. See [Words](crate#words).
    ///
    /// Redirects and reqwest's own retries are switched off.
    ///
    /// # Errors
    ///
    /// If reqwest can't set itself up.
    pub fn new(
        builder: reqwest::ClientBuilder,
        space: impl Into<String>,
    ) -> Result<Self, reqwest::Error> {
        let builder = builder
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never());
        Ok(Self {
            http: builder.build()?,
            space: space.into().into(),
            header: HeaderName::from_static("idempotency-key"),
            limits: Limits {
                within: Duration::ZERO,
                attempt: Duration::from_secs(10),
                first_pause: Duration::from_millis(200),
                longest_pause: Duration::from_secs(10),
            },
            response_limit: 8 * 1024 * 1024,
            budget: Arc::new(Budget::new(10, Duration::from_secs(1))),
        })
    }

    /// An effect that is to happen once: the operation and the business id. See [Words](crate#words).
    pub fn once(&self, operation: &str, id: impl Display) -> Intent {
        let id = id.to_string();
        let is_empty = self.space.is_empty() || operation.is_empty() || id.is_empty();
        Intent {
            key: Key::derive(&self.space, operation, &id),
            client: self.clone(),
            failure: is_empty.then_some("the key space, the operation or the business id is empty"),
        }
    }

    /// The header of the key, if it is not `Idempotency-Key`.
    ///
    /// # Errors
    ///
    /// If it is not the name of a header.
    pub fn try_with_header(mut self, name: &str) -> Result<Self, InvalidHeaderName> {
        self.header = name.parse()?;
        Ok(self)
    }

    /// The longest time of one attempt, to the end of its answer: 10 s, unless it is set.
    #[must_use]
    pub fn with_attempt_timeout(mut self, timeout: Duration) -> Self {
        self.limits.attempt = timeout;
        self
    }

    /// The longest random pause after the first attempt, which doubles with each attempt, and the longest
    /// one at all: 200 ms and 10 s, unless they are set.
    #[must_use]
    pub fn with_pauses(mut self, first: Duration, longest: Duration) -> Self {
        self.limits.first_pause = first;
        self.limits.longest_pause = longest;
        self
    }

    /// The retries to one host, of all intents of this client and its clones: so many at once, and one more
    /// after each such time, or after ten first attempts. 10 and 1 s, unless they are set.
    #[must_use]
    pub fn with_retry_budget(mut self, burst: u32, every: Duration) -> Self {
        self.budget = Arc::new(Budget::new(burst, every));
        self
    }

    /// The longest body of an answer: 8 MiB, unless it is set.
    #[must_use]
    pub fn with_response_limit(mut self, bytes: usize) -> Self {
        self.response_limit = bytes;
        self
    }
}

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
