//! The contract, rule by rule, on every pair of framework and database.
//!
//! There is a folder for each letter of the contract, and one for each database and framework with tests of its own.
//! All tests of O14 are in `o/o14`, those of a single database too.

/// K: the key.
mod k {
    mod key;
}

/// S: scope and operation.
mod s {
    mod identity;
}

/// R: first request and replay.
mod r {
    mod cache;
    mod replay;
    mod seal;
}

/// M: mismatch.
mod m {
    mod mismatch;
}

/// F: fingerprint.
mod f {
    mod request;
    mod values;
}

/// C: concurrency.
mod c {
    mod duplicates;
    mod early;
    mod room;
    mod stress;
    mod waiting;
}

/// O: outcomes.
mod o {
    mod commit;
    mod deferred;
    mod faults;
    mod outcomes;
    mod shared;
    mod transaction;
    pub(crate) mod wire;

    /// O14: handlers that break their transaction.
    mod o14 {
        mod aborted;
        mod chained;
        mod endings;
        mod guard;
        mod misuse;
        mod mysql;
        mod mysql_deadlocks;
        mod mysql_wire;
        mod postgres;
        mod sqlite;
        mod transaction;
    }
}

/// E: expiry.
mod e {
    mod erasure;
    mod expiry;
    mod forget;
    mod purge;
}

/// L: limits.
mod l {
    mod limits;
    mod rates;
}

/// T: steps.
mod t {
    mod servers;
    mod steps;
}

/// P: problem documents.
mod p {
    mod problems;
    mod refused;
    mod unreadable;
}

/// V: visibility.
mod v {
    mod log;
    mod metrics;
}

/// H: the handler's view of its attempt.
mod h {
    mod attempt;
}

/// N: without HTTP.
mod n {
    pub(crate) mod once;
}

/// PostgreSQL alone.
mod postgres {
    mod cost;
    mod durability;
    mod isolation;
    mod limits;
    mod locks;
    mod plain;
    mod record_in_commit;
    mod setup;
    mod store;
    mod stub;
    mod warnings;
    mod wire;
}

/// MariaDB and MySQL alone.
mod mysql {
    mod claim;
    mod concurrency;
    mod cost;
    pub(crate) mod isolation;
    mod sessions;
    mod setup;
    mod store;
    mod wire;
}

/// SQLite alone.
mod sqlite {
    mod setup;
    mod store;
}

/// axum alone.
mod axum {
    mod paths;
}

/// actix-web alone.
mod actix {
    mod paths;
    mod workers;
}

mod parity;
