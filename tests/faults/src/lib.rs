//! The fault matrix: faults at every point of a request, injected from outside of the product's code, and a
//! checker that sees only what clients were answered and what is in the database.
//!
//! [`docs/reliability.md`](https://github.com/idem-rs/idem/blob/main/docs/reliability.md) has the matrix, what
//! injects each row, and what held.
#![allow(
    clippy::missing_panics_doc,
    reason = "a harness panics: that is how tests fail"
)]

mod checker;
mod lane;
mod proxy;

pub use self::checker::{Evidence, Told, Violation, check, tally};
pub use self::lane::{Kind, Lane, Report};
pub use self::proxy::{Direction, Fault, Harm, Proxy, Traffic};
