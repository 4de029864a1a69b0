//! Problem documents (RFC 9457) of services that are protected by idem.

use std::fmt;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Response, StatusCode};
use serde::Deserialize;

/// A problem document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The URL of the problem's type.
    pub r#type: String,
    /// A short text, the same for each problem of the type.
    pub title: String,
    /// More about this one.
    pub detail: String,
    /// The status of the answer.
    pub status: StatusCode,
}

impl Problem {
    /// The last part of the type, such as `key-reused`.
    pub fn name(&self) -> &str {
        name(&self.r#type)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}",
            self.status.as_u16(),
            self.name(),
            self.title
        )
    }
}

fn name(r#type: &str) -> &str {
    r#type.rsplit(['#', '/']).next().unwrap_or(r#type)
}

/// What a client reads of a problem document. Documents of other services have no `retryable` and no
/// `safe_new_key`.
#[derive(Debug, Deserialize)]
pub(crate) struct Document {
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
    pub(crate) retryable: Option<bool>,
    pub(crate) safe_new_key: Option<bool>,
}

impl Document {
    pub(crate) fn of(response: &Response<Bytes>) -> Option<Self> {
        let kind = response.headers().get(CONTENT_TYPE)?.to_str().ok()?;
        let essence = kind.split(';').next()?.trim();
        let is_problem = essence.eq_ignore_ascii_case("application/problem+json");
        let document = || serde_json::from_slice(response.body()).ok();
        is_problem.then(document).flatten()
    }

    pub(crate) fn is_in_flight(&self) -> bool {
        name(&self.r#type) == "in-flight"
    }

    pub(crate) fn into_problem(self, status: StatusCode) -> Problem {
        Problem {
            r#type: self.r#type,
            title: self.title,
            detail: self.detail,
            status,
        }
    }
}
