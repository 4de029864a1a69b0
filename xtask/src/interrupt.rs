//! Turns the signals that ask a program to end into an ordinary error, so that every guard is dropped.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes SIGINT, SIGTERM and SIGHUP visible to [`check`] instead of ending the process.
///
/// # Errors
///
/// If the process already handles these signals in another way.
pub fn install() -> anyhow::Result<()> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::SeqCst))
        .context("cannot listen for SIGINT, SIGTERM and SIGHUP")
}

/// Every loop that waits calls this, and returns the error.
///
/// # Errors
///
/// [`Interrupted`] after one of the signals.
pub fn check() -> Result<(), Interrupted> {
    if INTERRUPTED.load(Ordering::SeqCst) {
        return Err(Interrupted);
    }
    Ok(())
}

/// The process was asked to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("interrupted")
    }
}

impl std::error::Error for Interrupted {}
