//! The claim while the handler borrows it. It comes back on success, panic and timeout.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::Claim;
use crate::transaction::Lend;

/// A claim on its way through a handler. Dropping the guard, also in a panic or at a deadline,
/// returns the claim to the engine, which alone ends its transaction.
#[derive(Debug)]
pub struct ClaimGuard<C> {
    claim: Option<C>,
    slot: ClaimSlot<C>,
}

/// The place to which a borrowed claim returns.
#[derive(Debug)]
pub struct ClaimSlot<C>(Arc<Mutex<Option<C>>>);

impl<C> ClaimGuard<C> {
    /// Guards `claim`, which returns to the slot.
    pub fn new(claim: C) -> (Self, ClaimSlot<C>) {
        let slot = ClaimSlot(Arc::default());
        let guard = Self {
            claim: Some(claim),
            slot: ClaimSlot(Arc::clone(&slot.0)),
        };
        (guard, slot)
    }
}

impl<C: Claim> Claim for ClaimGuard<C> {
    type Connection = C::Connection;

    fn connection(&mut self) -> &mut C::Connection {
        const HELD: &str = "a guard holds its claim until it is dropped";
        self.claim.as_mut().expect(HELD).connection()
    }
}

impl<C: Claim> Lend<C::Connection> for ClaimGuard<C> {
    fn connection(&mut self) -> &mut C::Connection {
        Claim::connection(self)
    }

    fn share(&mut self) -> Box<dyn Claim<Connection = C::Connection>> {
        Box::new(Self {
            claim: self.claim.take(),
            slot: ClaimSlot(Arc::clone(&self.slot.0)),
        })
    }
}

impl<C> Drop for ClaimGuard<C> {
    fn drop(&mut self) {
        // A guard whose claim is shared has nothing to return.
        if let Some(claim) = self.claim.take() {
            *self.slot.lock() = Some(claim);
        }
    }
}

impl<C> ClaimSlot<C> {
    /// The claim; `None` while the guard lives, as after a handler leaked it.
    pub fn take(&self) -> Option<C> {
        self.lock().take()
    }

    fn lock(&self) -> MutexGuard<'_, Option<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
