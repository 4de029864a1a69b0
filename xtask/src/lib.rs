//! Throw-away servers for the tests of `idem`, and the means to run other programs.
//!
//! `cargo xtask` is the usual user; a test that has to kill and restart a server takes
//! [`server::Server`] from here, and one that needs programs of Python takes [`python::environment`]. All of it needs a Unix system, so elsewhere the library is empty.

#![cfg(unix)]

pub mod interrupt;
pub mod process;
pub mod python;
pub mod server;
