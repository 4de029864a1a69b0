//! The fault matrix: faults at every point of a request, injected from outside of the library's
//! code. The checker reads only the answers to clients and the rows of the database.
//!
//! [`docs/reliability.md`](https://github.com/idem-rs/idem/blob/main/docs/reliability.md) has the
//! matrix, the injection of each row, and the results.
#![allow(
    clippy::missing_panics_doc,
    reason = "a harness panics: that is how tests fail"
)]

mod caller;
mod checker;
mod decorator;
mod disk;
mod drops;
mod failover;
mod freezes;
mod goodbye;
mod history;
mod kills;
mod kind;
mod lane;
mod load;
mod model;
mod proxy;
mod report;
mod retried;
mod ride;
mod rides;
mod schedule;

pub use self::caller::{Asking, Caller};
pub use self::checker::{Answered, Evidence, Facts, Ledger, Violation, check};
pub use self::decorator::{Blow, Harmed, Point, Trigger};
pub use self::disk::{full_postgres, full_sqlite, may_mount};
pub use self::drops::Drops;
pub use self::failover::{Crash, Pair, Replication, fail_over, until};
pub use self::freezes::{Freezes, Phase, freeze_riders};
pub use self::goodbye::{Client, Goodbye};
pub use self::kills::{Durability, Kills, alone, kill_application, kill_server};
pub use self::kind::Kind;
pub use self::lane::{EFFECTS, Lane, Meanwhile};
pub use self::model::{Ending, Explained, Request};
pub use self::proxy::{Direction, Fault, Harm, Proxy, Traffic};
pub use self::report::{Report, Rides};
pub use self::retried::retried;
pub use self::ride::{
    Flaw, Gate, Middle, Play, Process, Ride, Rows, STEPS, Service, Stop, UNTIMED, create_legs,
    end_lease,
};
pub use self::rides::{Keys, RideEvidence, check_ride, kill_riders};
pub use self::schedule::{Expected, Live, Next, Reached, View};
