//! The owner of a request, on every framework.

use std::borrow::Cow;

use idem_core::Scope;

use crate::control::Control;

/// The owner of a request: the header `x-tenant`, percent-encoded.
#[derive(Debug)]
pub struct Tenant(pub String);

impl Tenant {
    /// The header with the tenant.
    pub(super) const HEADER: &str = "x-tenant";

    /// Reads the tenant, and counts the extraction.
    pub(super) fn extract(control: &Control, header: Option<&[u8]>) -> Result<Self, &'static str> {
        control.extract();
        header.and_then(decode).map(Self).ok_or("send `x-tenant`")
    }
}

impl Scope for Tenant {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
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
