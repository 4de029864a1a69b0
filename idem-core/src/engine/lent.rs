//! A claim that comes back whatever becomes of the handler.

use std::sync::{Arc, Mutex, PoisonError};

use crate::store::Claim;

/// The transaction on its way through a handler. Dropping it, in a panic or at a deadline too, hands it
/// back to the engine, which alone ends it.
#[derive(Debug)]
pub struct Lent<C> {
    claim: Option<C>,
    home: Home<C>,
}

/// Where a lent claim comes back to.
#[derive(Debug)]
pub(super) struct Home<C>(Arc<Mutex<Option<C>>>);

impl<C> Lent<C> {
    pub(super) fn out(claim: C) -> (Self, Home<C>) {
        let home = Home(Arc::default());
        let lent = Self {
            claim: Some(claim),
            home: Home(Arc::clone(&home.0)),
        };
        (lent, home)
    }
}

impl<C: Claim> Claim for Lent<C> {
    type Connection = C::Connection;

    fn connection(&mut self) -> &mut C::Connection {
        const HELD: &str = "a lent claim is held until it is dropped";
        self.claim.as_mut().expect(HELD).connection()
    }
}

impl<C> Drop for Lent<C> {
    fn drop(&mut self) {
        self.home.put(self.claim.take());
    }
}

impl<C> Home<C> {
    /// The claim; `None` while it is out, as after a handler leaked it.
    pub(super) fn take(&self) -> Option<C> {
        self.slot().take()
    }

    fn put(&self, claim: Option<C>) {
        *self.slot() = claim;
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, Option<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
