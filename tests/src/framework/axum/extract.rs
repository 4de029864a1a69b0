//! What the handlers extract.

use std::borrow::Cow;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use idem_axum::Scope;

use crate::domain::{App, Domain};

/// Whose request it is: the header `x-tenant`, percent-encoded.
pub(super) struct Tenant(pub(super) String);

impl Scope for Tenant {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

impl<C: Domain> FromRequestParts<App<C>> for Tenant {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, app: &App<C>) -> Result<Self, Self::Rejection> {
        app.control.extract();
        let header = parts.headers.get("x-tenant");
        let tenant = header.and_then(|value| decode(value.as_bytes()));
        tenant
            .map(Self)
            .ok_or((StatusCode::UNAUTHORIZED, "send `x-tenant`"))
    }
}

fn decode(mut encoded: &[u8]) -> Option<String> {
    let mut bytes = Vec::new();
    while let Some((&first, rest)) = encoded.split_first() {
        encoded = rest;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, rest) = encoded.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        encoded = rest;
    }
    String::from_utf8(bytes).ok()
}
