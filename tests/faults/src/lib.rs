//! The fault matrix: faults at every point of a request, injected from outside of the product's code, and a
//! checker that sees only what clients were answered and what is in the database.
//!
//! [`docs/reliability.md`](https://github.com/idem-rs/idem/blob/main/docs/reliability.md) has the matrix, what
//! injects each row, and what held.
#![allow(
    clippy::missing_panics_doc,
    reason = "a harness panics: that is how tests fail"
)]

mod caller;
mod checker;
mod decorator;
mod kind;
mod lane;
mod load;
mod model;
mod proxy;
mod report;

pub use self::caller::{Asking, Caller};
pub use self::checker::{Evidence, Ledger, Told, Violation, check, tally};
pub use self::decorator::{Blow, Harmed, Point, Trigger};
pub use self::kind::Kind;
pub use self::lane::{EFFECTS, Lane};
pub use self::load::{History, Load};
pub use self::model::{Ending, Explained, Request};
pub use self::proxy::{Direction, Fault, Harm, Proxy, Traffic};
pub use self::report::Report;
