//! The harness of the conformance suite.
//!
//! A test gets a [`World`]: a fresh [`Database`], any number of [`Instance`]s of one test service
//! on it, and the [`Control`] over its handlers. The test sends raw HTTP, and checks the answers,
//! the rows of the database and the handlers' views. At its end, every pool must be complete and
//! every session outside of a transaction.
#![allow(
    clippy::missing_panics_doc,
    reason = "a harness panics: that is how tests fail"
)]

mod calls;
mod client;
mod control;
mod database;
mod domain;
mod framework;
mod metrics;
mod process;
mod recorder;
mod scene;
mod suite;
mod traces;
mod verdict;
mod wire;
mod world;

pub use self::client::{Answer, Connection, Pending, Request};
pub use self::control::{Control, Running, Visit};
pub use self::database::{
    Choices, Database, Driver, Galera, Mysql, Postgres, RecordInCommit, Served, Sqlite, Wires,
};
pub use self::domain::{App, Domain, StepEngine};
pub use self::framework::{Actix, Axum, Deploy, Framework, Keyed, NewEffect, Tenant};
pub use self::metrics::Metrics;
pub use self::process::{Service, Site, until_working};
pub use self::recorder::{Exchange, Message, Recorder};
pub use self::scene::{Act, Body, Failed, Reply, RideError, Scene};
pub use self::suite::{Threads, run};
pub use self::traces::{Fields, Traced, Traces};
pub use self::verdict::{answers, assert_one_executed};
pub use self::wire::{Cut, Wire};
pub use self::world::{Instance, Settings, World, max_in_flight};

#[doc(hidden)]
pub mod __private {
    pub use pastey::paste;
}
