//! Throw-away database servers for the tests of `idem`, and the ways to run programs beside them.
//!
//! `cargo xtask` is the usual user; a test which has to kill and restart a server takes
//! [`server::Server`] from here. Everything needs a Unix system, so elsewhere the library is empty.

#![cfg(unix)]

pub mod interrupt;
pub mod process;
pub mod server;
