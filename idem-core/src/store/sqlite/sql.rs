//! The statements. Only the tables' names are formatted into them, and only in this file.

use std::sync::Arc;

use crate::store::run_sql::{Dialect, RunSql, hex_literal};

/// The savepoint can only be released, or rolled back to, in the claim's own transaction: this detects
/// a handler that ended the transaction.
pub(super) const BEGIN: &str = "BEGIN IMMEDIATE; SAVEPOINT idem_attempt";

const KEEP: &str = "RELEASE SAVEPOINT idem_attempt";

const UNDO: &str = "ROLLBACK TO SAVEPOINT idem_attempt";

const NOW: &str = "CAST(round(unixepoch('now', 'subsec') * 1000) AS INTEGER) * 1000";

/// The statements that keep or undo the handler's writes: alone, and with a record after them in one message to the thread
/// of the connection.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) alone: &'static str,
    pub(super) insert: Arc<str>,
    pub(super) update: Arc<str>,
}

impl Ending {
    fn new(alone: &'static str, insert: &str, update: &str) -> Self {
        Self {
            alone,
            insert: format!("{alone}; {insert}").into(),
            update: format!("{alone}; {update}").into(),
        }
    }
}

/// The statements for tables with one prefix, which is one that needs no quotes.
#[derive(Debug, Clone)]
pub(super) struct Sql {
    prefix: Arc<str>,
    pub(super) find: Arc<str>,
    pub(super) kept: Ending,
    pub(super) undone: Ending,
    /// Whether there is an expired record.
    pub(super) expired: Arc<str>,
    pub(super) purge: Arc<str>,
    pub(super) erase: Arc<str>,
    /// The number of a scope's records.
    pub(super) count: Arc<str>,
    /// The version of a record, also of one that can't be read.
    pub(super) seen: Arc<str>,
    pub(super) forget: Arc<str>,
    pub(super) tally: Arc<str>,
    pub(super) tally_scope: Arc<str>,
    /// The last version in the bookkeeping.
    pub(super) version: Arc<str>,
}

impl Sql {
    pub(super) fn new(prefix: &str) -> Self {
        let records = format!("main.{prefix}idem_records");
        let find = format!(
            "SELECT state, attempts, status, fingerprint, response, settled_at, expires_at, {NOW} \
             FROM {records} WHERE identity = $1"
        );
        let insert = format!(
            "INSERT INTO {records} \
             (identity, operation, state, attempts, status, fingerprint, response, settled_at, expires_at) \
             SELECT $1, $2, $3, $4, $5, $6, $7, clock.now, clock.now + $8 \
             FROM (SELECT {NOW} AS now) AS clock RETURNING settled_at, expires_at"
        );
        let update = format!(
            "UPDATE {records} \
             SET operation = $2, state = $3, attempts = $4, status = $5, fingerprint = $6, response = $7, \
             settled_at = clock.now, expires_at = clock.now + $8 \
             FROM (SELECT {NOW} AS now) AS clock WHERE identity = $1 AND attempts = $9 AND settled_at = $10 \
             RETURNING settled_at, expires_at"
        );
        let expired = format!("SELECT EXISTS (SELECT * FROM {records} WHERE expires_at <= {NOW})");
        let purge = format!(
            "DELETE FROM {records} WHERE rowid IN ( \
             SELECT rowid FROM {records} WHERE expires_at <= {NOW} ORDER BY expires_at LIMIT $1)"
        );
        let erase = format!("DELETE FROM {records} WHERE identity BETWEEN $1 AND $2");
        let count = format!("SELECT count(*) FROM {records} WHERE identity BETWEEN $1 AND $2");
        let seen = format!("SELECT attempts, settled_at FROM {records} WHERE identity = $1");
        let forget = format!("DELETE FROM {records} WHERE identity = $1");
        let tally = |condition: &str| {
            let is_expired = format!("expires_at <= (SELECT {NOW})");
            // With a limit it stays a query of its own. Otherwise SQLite sorts whole responses.
            let rows = format!(
                "SELECT operation, state, attempts, length(response) AS bytes, settled_at, expires_at \
                 FROM {records} {condition} LIMIT -1"
            );
            format!(
                "SELECT tally.*, {NOW} FROM (SELECT 1) LEFT JOIN (SELECT operation, state, count(*), \
                 count(*) FILTER (WHERE {is_expired}), sum(attempts), sum(bytes), \
                 min(settled_at), max(settled_at), min(expires_at) FILTER (WHERE {is_expired}) \
                 FROM ({rows}) GROUP BY operation, state) AS tally ON true"
            )
        };
        let version = format!("SELECT max(version) FROM main.{prefix}idem_migrations");
        Self {
            prefix: prefix.into(),
            find: find.into(),
            kept: Ending::new(KEEP, &insert, &update),
            undone: Ending::new(UNDO, &insert, &update),
            expired: expired.into(),
            purge: purge.into(),
            erase: erase.into(),
            count: count.into(),
            seen: seen.into(),
            forget: forget.into(),
            tally: tally("").into(),
            tally_scope: tally("WHERE identity BETWEEN $1 AND $2").into(),
            version: version.into(),
        }
    }

    pub(super) fn records(&self) -> String {
        format!("{}idem_records", self.prefix)
    }

    pub(super) fn migrations(&self) -> String {
        format!("{}idem_migrations", self.prefix)
    }

    /// The statements of runs.
    pub(super) fn runs(&self) -> RunSql {
        let dialect = Dialect {
            now: NOW,
            equals: "=",
            bytes: hex_literal,
            text: |text| format!("CAST({} AS TEXT)", hex_literal(text.as_bytes())),
            // There is one writer.
            lock: "",
            own: "1",
            proof: Some("RELEASE SAVEPOINT idem_attempt; SAVEPOINT idem_attempt"),
            parameter: |number| format!("${number}"),
        };
        let place = |table| format!("main.{}{table}", self.prefix);
        let records = place("idem_records");
        RunSql::new(dialect, place("idem_runs"), place("idem_steps"), records)
    }

    /// The bookkeeping of the migrations of runs.
    pub(super) fn run_migrations(&self) -> String {
        format!("{}idem_step_migrations", self.prefix)
    }

    pub(super) fn table(&self, name: &str) -> String {
        format!("{}idem_{name}", self.prefix)
    }

    /// A migration's script, whose names have no prefix.
    pub(super) fn script(&self, script: &str) -> String {
        script.replace("idem_", &self.table(""))
    }
}
