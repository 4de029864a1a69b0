//! The attributes of this process, as far as their requests have shown them (rules S1 and R4).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use crate::operation::Operation;
use crate::policy::Policy;

/// The most operations that are remembered. A route for any method has one for each method that
/// clients make up.
const MOST: usize = 4096;

/// The endpoints of this process.
#[derive(Debug, Default)]
pub(crate) struct Endpoints {
    /// By the operations that were derived from their routes.
    derived: RwLock<HashMap<Operation, Endpoint>>,
    /// The addresses of the policies of those whose unrecorded headers are in the log.
    with_unrecorded_headers: Mutex<HashSet<usize>>,
    /// The operations that the OpenAPI document has without a contract.
    #[cfg(feature = "utoipa")]
    without_contract: std::sync::OnceLock<HashSet<Operation>>,
}

#[derive(Debug)]
struct Endpoint {
    policy: &'static Policy,
    /// Whether the log says that another attribute uses the operation.
    is_reported: AtomicBool,
}

impl Endpoints {
    /// Whether `operation` belongs to the attribute of `policy`, as it does from its first request.
    ///
    /// An attribute is recognised by the address of its policy. Two endpoints with one operation
    /// would answer for each other.
    pub(crate) fn belongs_to(&self, operation: &Operation, policy: &'static Policy) -> bool {
        let endpoints = self.derived.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get(operation) {
            return endpoint.is_of(policy, operation);
        }
        drop(endpoints);
        let mut endpoints = self.derived.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = endpoints.get(operation) {
            return endpoint.is_of(policy, operation);
        }
        if endpoints.len() < MOST {
            #[cfg(feature = "utoipa")]
            if self.lacks_contract(operation) {
                tracing::warn!(
                    %operation,
                    "the OpenAPI document has this operation without its contract; put `#[utoipa::path]` below \
                     `#[idempotent]`"
                );
            }
            let is_reported = AtomicBool::new(false);
            let endpoint = Endpoint {
                policy,
                is_reported,
            };
            endpoints.insert(operation.clone(), endpoint);
        }
        true
    }

    /// Takes the operations that the application's first OpenAPI document has without a contract.
    #[cfg(feature = "utoipa")]
    pub(crate) fn described(&self, without_contract: HashSet<Operation>) {
        self.without_contract.get_or_init(|| without_contract);
    }

    #[cfg(feature = "utoipa")]
    pub(crate) fn lacks_contract(&self, operation: &Operation) -> bool {
        let operations = self.without_contract.get();
        operations.is_some_and(|operations| operations.contains(operation))
    }

    /// Whether this is the first response of the endpoint with headers that are not recorded.
    pub(crate) fn has_new_unrecorded_headers(&self, policy: &'static Policy) -> bool {
        let reported = self.with_unrecorded_headers.lock();
        let mut reported = reported.unwrap_or_else(PoisonError::into_inner);
        reported.insert(std::ptr::from_ref(policy).addr())
    }
}

impl Endpoint {
    fn is_of(&self, policy: &'static Policy, operation: &Operation) -> bool {
        let same = std::ptr::eq(self.policy, policy);
        if !same && !self.is_reported.swap(true, Ordering::Relaxed) {
            tracing::error!(
                %operation,
                "two handlers have this operation, as their routes differ only in a guard, a host \
                 or a router; they would answer for each other, so the second one is refused; \
                 name them by `operation = \"…\"` on each"
            );
        }
        same
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    static ONE: Policy = Policy::new(Duration::from_secs(1));
    static OTHER: Policy = Policy::new(Duration::from_secs(1));

    #[test]
    fn s1_an_operation_belongs_to_the_attribute_of_its_first_request() {
        let endpoints = Endpoints::default();
        let [here, there] = ["POST /here", "POST /there"].map(Operation::named);
        for _ in 0..2 {
            assert!(endpoints.belongs_to(&here, &ONE));
            assert!(!endpoints.belongs_to(&here, &OTHER));
            assert!(endpoints.belongs_to(&there, &OTHER));
            assert!(!endpoints.belongs_to(&there, &ONE));
        }
    }

    #[test]
    fn s1_methods_that_clients_make_up_take_bounded_memory() {
        let endpoints = Endpoints::default();
        for number in 0..=MOST {
            let operation = Operation::named(&format!("X{number} /"));
            assert!(endpoints.belongs_to(&operation, &ONE));
        }
        assert_eq!(endpoints.derived.into_inner().unwrap().len(), MOST);
    }
}
