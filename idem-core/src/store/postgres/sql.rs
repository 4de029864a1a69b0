//! The statements. Only hex and integers are formatted into them, and only in this file.

use std::fmt::Display;
use std::sync::Arc;

use super::setup::{Limits, Setup};
use crate::digest::hex;
use crate::identity::{Identity, ScopeDigest};
use crate::policy::Isolation;
use crate::store::{ClaimRequest, Draft};

/// The savepoint is set after the claim, so rolling back to it keeps the claim.
pub(super) const UNDO: &str = "ROLLBACK TO SAVEPOINT idem_attempt";

const SAVEPOINT: &str = "SAVEPOINT idem_attempt";

/// Whether this is still the claim's own transaction: the setting ends with it.
const IN_TRANSACTION: &str =
    "pg_catalog.current_setting('idem.transaction', true) OPERATOR(pg_catalog.=) 'claimed'";

/// Makes the commit durable, even if session or handler have chosen otherwise, and removes the time
/// limit for its wait for a standby.
const DURABLY: &str = " AND (pg_catalog.current_setting('synchronous_commit') \
     OPERATOR(pg_catalog.=) ANY (ARRAY['on', 'remote_apply']) \
     OR pg_catalog.set_config('synchronous_commit', 'on', true) IS NOT NULL) \
     AND pg_catalog.set_config('statement_timeout', '0', true) IS NOT NULL";

/// When a query is sent as text, sqlx reads bytes in this form only.
const HEX_OUTPUT: &str = "pg_catalog.set_config('bytea_output', 'hex', true)";

/// Opens a transaction, with the claim where there is a procedure for it.
pub(super) fn begin(
    isolation: Option<Isolation>,
    limits: Limits,
    claim: Option<ClaimRequest<'_>>,
) -> String {
    let isolation = match isolation {
        None => "",
        Some(Isolation::ReadCommitted) => " ISOLATION LEVEL READ COMMITTED",
        Some(Isolation::RepeatableRead) => " ISOLATION LEVEL REPEATABLE READ",
        Some(Isolation::Serializable) => " ISOLATION LEVEL SERIALIZABLE",
    };
    let limits = [
        ("statement_timeout", limits.statement),
        ("idle_in_transaction_session_timeout", limits.idle),
    ];
    let limits = limits.into_iter().filter_map(|(setting, milliseconds)| {
        Some(format!("SET LOCAL {setting} = {}", milliseconds?))
    });
    let claim = claim.map(|request| {
        let attempts = or_null(request.seen.map(|seen| seen.attempts));
        let settled_at = or_null(request.seen.map(|seen| seen.settled_at.0));
        let identity = bytes(request.identity.as_bytes());
        let lock_id = request.identity.lock_id();
        format!("CALL idem.claim({identity}, {lock_id}, {attempts}, {settled_at})")
    });
    let begin = format!("BEGIN{isolation} READ WRITE; SET LOCAL idem.transaction = 'claimed'");
    let mut statements = vec![begin];
    statements.extend(limits);
    statements.extend(claim);
    statements.push(SAVEPOINT.to_owned());
    statements.join("; ")
}

/// Takes the lock if it is free, then reads: two statements, so that the read has a newer snapshot.
pub(super) fn read(identity: &Identity, setup: &Setup) -> String {
    let try_lock = setup.try_lock();
    let (lock_id, record) = (identity.lock_id(), select_record(identity));
    format!("SELECT {try_lock}({lock_id}), {HEX_OUTPUT}; {record}")
}

/// The claim without a procedure, inside its transaction. If a record is to be replaced it takes
/// [`hold_record`] too.
pub(super) fn claim_plainly(request: ClaimRequest<'_>, setup: &Setup) -> String {
    let read = read(request.identity, setup);
    if request.seen.is_some() {
        read
    } else {
        format!("{read}; {SAVEPOINT}")
    }
}

/// Keeps a purge away from the record that the attempt is going to replace. Only for the holder of the
/// lock: others would wait for the holder's attempt here.
pub(super) fn hold_record(identity: &Identity) -> String {
    let record = select_record(identity);
    format!("SELECT true, {HEX_OUTPUT}; {record} FOR UPDATE; {SAVEPOINT}")
}

pub(super) fn rollback_and_find(identity: &Identity) -> String {
    format!("ROLLBACK; {}", find(identity))
}

pub(super) fn find(identity: &Identity) -> String {
    format!("SELECT {HEX_OUTPUT}; {}", select_record(identity))
}

fn select_record(identity: &Identity) -> String {
    format!(
        "SELECT state, attempts, status, fingerprint, response, {}, {}, {} \
         FROM idem.records WHERE identity OPERATOR(pg_catalog.=) {}",
        microseconds("settled_at"),
        microseconds("expires_at"),
        microseconds("pg_catalog.clock_timestamp()"),
        bytes(identity.as_bytes()),
    )
}

pub(super) fn purge(limit: u32) -> String {
    format!(
        "BEGIN READ WRITE; DELETE FROM idem.records WHERE ctid = ANY (ARRAY( \
         SELECT ctid FROM idem.records WHERE expires_at <= statement_timestamp() \
         ORDER BY expires_at LIMIT {limit} FOR UPDATE SKIP LOCKED)); COMMIT"
    )
}

pub(super) fn erase(scope: &ScopeDigest) -> String {
    let (first, last) = (bytes(&scope.first()), bytes(&scope.last()));
    format!(
        "BEGIN READ WRITE; DELETE FROM idem.records WHERE identity BETWEEN {first} AND {last}; COMMIT"
    )
}

/// The statements of a settlement.
#[derive(Debug, Clone)]
pub(super) struct SettleSql {
    /// Writes a record, with placeholders for bound values.
    pub(super) insert: Arc<str>,
    /// Replaces a record, with placeholders for bound values.
    pub(super) update: Arc<str>,
    /// Whether this is still the claim's own transaction.
    pub(super) check: Arc<str>,
    durably: bool,
}

impl SettleSql {
    pub(super) fn new(durably: bool) -> Self {
        let durability = if durably { DURABLY } else { "" };
        let may_commit = format!("{IN_TRANSACTION}{durability}");
        Self {
            insert: insert(&may_commit).into(),
            update: update(&may_commit).into(),
            check: format!("SELECT {may_commit}").into(),
            durably,
        }
    }

    /// A first record and its commit as one message. sqlx still counts a transaction as open, so the
    /// commit opens the next one.
    pub(super) fn insert_and_commit(&self, draft: &Draft<'_>) -> String {
        let identity = bytes(draft.identity.as_bytes());
        let operation = bytes(draft.operation.as_str().as_bytes());
        let (state, attempts, status) = (draft.state.code(), draft.attempts, draft.status.as_u16());
        let fingerprint = bytes(&draft.fingerprint.to_bytes());
        let response = or_null(draft.response.map(bytes));
        let (ttl, durably) = (draft.ttl.as_micros(), self.durably);
        format!(
            "CALL idem.record({identity}, {operation}, {state}::pg_catalog.int2, {attempts}, \
             {status}::pg_catalog.int2, \
             {fingerprint}, {response}, {ttl}, {durably}, NULL, NULL); COMMIT AND CHAIN"
        )
    }
}

/// Outside of the claim's transaction the state is null, which the table refuses: so the statement
/// that writes the record also checks that this is the claim's transaction.
fn insert(may_commit: &str) -> String {
    format!(
        "INSERT INTO idem.records \
         (identity, operation, state, attempts, status, fingerprint, response, settled_at, expires_at) \
         VALUES ($1, $2, CASE WHEN {may_commit} THEN $3::pg_catalog.int2 END, $4, $5, $6, $7, \
         pg_catalog.clock_timestamp(), {EXPIRES_AT}) {}",
        returning()
    )
}

fn update(may_commit: &str) -> String {
    format!(
        "UPDATE idem.records SET operation = $2, \
         state = CASE WHEN {may_commit} THEN $3::pg_catalog.int2 END, attempts = $4, status = $5, \
         fingerprint = $6, response = $7, settled_at = pg_catalog.clock_timestamp(), \
         expires_at = {EXPIRES_AT} WHERE identity OPERATOR(pg_catalog.=) $1 \
         AND attempts OPERATOR(pg_catalog.=) $9 AND {} OPERATOR(pg_catalog.=) $10 {}",
        microseconds("settled_at"),
        returning()
    )
}

/// The clock is read a second time, so a record never answers for less than its time to live.
const EXPIRES_AT: &str = "pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) \
     pg_catalog.make_interval(secs => $8::pg_catalog.int8::pg_catalog.float8 \
     OPERATOR(pg_catalog./) 1000000)";

fn returning() -> String {
    let (settled_at, expires_at) = (microseconds("settled_at"), microseconds("expires_at"));
    format!("RETURNING {settled_at}, {expires_at}")
}

fn microseconds(time: &str) -> String {
    format!("(extract(epoch FROM {time}) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8")
}

/// A literal that does not depend on `standard_conforming_strings`.
fn bytes(bytes: &[u8]) -> String {
    format!("E'\\\\x{}'", hex(bytes))
}

fn or_null(value: Option<impl Display>) -> String {
    value.map_or_else(|| "NULL".to_owned(), |value| value.to_string())
}
