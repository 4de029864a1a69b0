//! The identities that this process has seen recently.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::identity::Identity;

/// The number of identities that fit; a power of two, so that digests fill the slots evenly.
const SLOTS: usize = 4096;

/// A table that forgets: an identity displaces the one that had its slot before.
///
/// It only makes a retry cheaper, so neither a forgotten nor a mistaken identity does any harm.
#[derive(Debug)]
pub(crate) struct RecentIdentities(Box<[AtomicU64]>);

impl RecentIdentities {
    pub(crate) fn new() -> Self {
        Self((0..SLOTS).map(|_| AtomicU64::new(0)).collect())
    }

    /// Remembers an identity, and returns whether it was remembered already.
    pub(crate) fn mark(&self, identity: &Identity) -> bool {
        let [.., high, low] = *identity.as_bytes();
        let slot = usize::from(u16::from_be_bytes([high, low])) % SLOTS;
        // Zero is an empty slot.
        let tag = identity.lock_id().cast_unsigned().max(1);
        self.0[slot].swap(tag, Ordering::Relaxed) == tag
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::IdempotencyKey;
    use crate::operation::Operation;

    fn identity(number: usize) -> Identity {
        let key = IdempotencyKey::parse(number.to_string().as_bytes()).unwrap();
        Identity::new(None, &Operation::named("test"), &key)
    }

    #[test]
    fn identity_is_remembered_from_its_first_mark_on() {
        let recent = RecentIdentities::new();
        for number in 0..10 {
            assert!(!recent.mark(&identity(number)), "{number} is new");
            assert!(recent.mark(&identity(number)));
        }
    }

    #[test]
    fn old_identities_are_forgotten_and_new_ones_are_not_mistaken_for_them() {
        let recent = RecentIdentities::new();
        for number in 0..10 * SLOTS {
            assert!(!recent.mark(&identity(number)), "{number} is new");
        }
        let remembered = (0..10 * SLOTS).filter(|number| recent.mark(&identity(*number)));
        assert!(remembered.count() < SLOTS);
    }
}
