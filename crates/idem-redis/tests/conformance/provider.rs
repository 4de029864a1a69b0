//! The other service: it keeps the keys of its calls, so a call that is sent twice has one effect.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

#[derive(Debug, Default)]
pub(crate) struct Provider {
    /// How many calls had a key.
    calls: Mutex<BTreeMap<String, usize>>,
}

impl Provider {
    pub(crate) fn charge(&self, key: &str) {
        *self.lock().entry(key.to_owned()).or_default() += 1;
    }

    pub(crate) fn effects(&self) -> usize {
        self.lock().len()
    }

    pub(crate) fn calls(&self) -> usize {
        self.lock().values().sum()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, usize>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
