//! What goes to a handler, and what comes back whatever becomes of it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::response::Response;
use crate::store::{BoxError, Claim};

/// The transaction on its way through a handler. Dropping it, in a panic or at a deadline too, hands it
/// back to the engine, which alone ends it.
#[derive(Debug)]
pub struct Lent<C> {
    claim: Option<C>,
    home: Home<C>,
}

/// What became of a handler: for adapters.
#[derive(Debug)]
pub enum Ran {
    /// It answered, and the response is complete.
    Answered {
        /// What [`Open::close`](crate::Open::close) said.
        closed: Result<(), BoxError>,
        /// The handler's response.
        response: Response,
    },
    /// Its response is too large to be recorded.
    TooLarge,
    /// Its transaction could not be lent to it, or its response's body broke off.
    Broken(BoxError),
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
