//! One protected request.

use crate::fingerprint::Fingerprint;
use crate::identity::Identity;
use crate::key::IdempotencyKey;
use crate::operation::Operation;

/// One protected request, reduced to what idempotency needs to know of it.
#[derive(Debug, Clone)]
pub struct Call {
    /// Whose key it is; `None` for an endpoint that is spelled out as unscoped.
    pub scope: Option<String>,
    /// Which endpoint the key is for.
    pub operation: Operation,
    /// The client's key; `None` only where the endpoint makes it optional.
    pub key: Option<IdempotencyKey>,
    /// What was asked.
    pub fingerprint: Fingerprint,
    /// Whether the request says that it is a retry, by the header that
    /// [`Config::retry_header`](crate::Config::retry_header) names.
    pub likely_retry: bool,
}

impl Call {
    /// What the record is stored under; `None` without a key.
    pub fn identity(&self) -> Option<Identity> {
        let key = self.key.as_ref()?;
        Some(Identity::new(self.scope.as_deref(), &self.operation, key))
    }
}
