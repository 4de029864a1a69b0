//! The contract, rule by rule, on every pair of framework and database.
//!
//! A folder for each letter of the contract. What is particular to a database or a framework is in a
//! folder of that name; all that O14 promises is in `o/o14`, whatever the database.

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
    mod purge;
}

/// L: limits.
mod l {
    mod limits;
}

/// P: problem documents.
mod p {
    mod problems;
    mod unreadable;
}

/// V: visibility.
mod v {
    mod log;
}

/// H: what the handler has.
mod h {
    mod attempt;
}

/// What is particular to PostgreSQL.
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
    mod wire;
}

/// What is particular to MariaDB and MySQL.
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

/// What is particular to SQLite.
mod sqlite {
    mod setup;
    mod store;
}

/// What is particular to axum.
mod axum {
    mod paths;
}

/// What is particular to actix-web.
mod actix {
    mod paths;
    mod workers;
}

mod parity;
