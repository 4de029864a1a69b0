//! The statements. Only hex, integers and the schema's name are formatted into them, and only in this
//! file.

use std::fmt::Display;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::setup::{Limits, Setup};
use crate::digest::hex;
use crate::identity::{Identity, ScopeDigest};
use crate::policy::Isolation;
use crate::record::Timestamp;
use crate::store::run_sql::{Dialect, RunSql};
use crate::store::{ClaimRequest, Draft};

/// The savepoint is set after the claim, so rolling back to it keeps the claim.
pub(super) const UNDO: &str = "ROLLBACK TO SAVEPOINT idem_attempt";

/// The same for a pooler that has sent the savepoint, which was not alone in its message, to one server:
/// so this must not be alone either.
pub(super) const UNDO_AND_SELECT: &str = "ROLLBACK TO SAVEPOINT idem_attempt; SELECT NULL";

const TRY_LOCK: &str = "pg_catalog.pg_try_advisory_xact_lock";

const SAVEPOINT: &str = "SAVEPOINT idem_attempt";

/// Begins a transaction whose statements see what is committed before each, whatever the session's level.
const BEGIN_PLAIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

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

/// The schema of the records.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    pub(super) name: Arc<str>,
    /// In statements. Only the default stands without quotes.
    quoted: Arc<str>,
    /// Tells the schema's advisory locks from those of other schemas in the database.
    salt: i64,
}

impl Schema {
    const DEFAULT: &str = "idem";

    /// A schema whose name is checked.
    pub(super) fn new(name: &str) -> Self {
        if name == Self::DEFAULT {
            return Self::default();
        }
        let digest = Sha256::new_with_prefix(b"idem schema 1").chain_update(name);
        let mut salt = [0; 8];
        salt.copy_from_slice(&digest.finalize()[..8]);
        Self {
            name: name.into(),
            quoted: format!("\"{name}\"").into(),
            salt: i64::from_be_bytes(salt),
        }
    }

    /// The id of an advisory lock.
    fn lock(&self, id: i64) -> i64 {
        id ^ self.salt
    }
}

impl Default for Schema {
    fn default() -> Self {
        Self {
            name: Self::DEFAULT.into(),
            quoted: Self::DEFAULT.into(),
            salt: 0,
        }
    }
}

impl Display for Schema {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.quoted)
    }
}

/// The statements for one schema.
#[derive(Debug, Clone)]
pub(super) struct Sql {
    pub(super) schema: Schema,
    /// Writes a record, with placeholders for bound values.
    pub(super) insert: Arc<str>,
    /// Replaces a record, with placeholders for bound values.
    pub(super) update: Arc<str>,
    /// Whether this is still the claim's own transaction.
    pub(super) check: Arc<str>,
    look: Arc<str>,
    look_plainly: Arc<str>,
    try_lock: Arc<str>,
    durably: bool,
}

impl Sql {
    pub(super) fn new(schema: Schema, durably: bool) -> Self {
        let durability = if durably { DURABLY } else { "" };
        let may_commit = format!("{IN_TRANSACTION}{durability}");
        Self {
            insert: insert(&schema, &may_commit).into(),
            update: update(&schema, &may_commit).into(),
            check: format!("SELECT {may_commit}").into(),
            look: look(&schema, &format!("{schema}.try_lock")).into(),
            look_plainly: look(&schema, TRY_LOCK).into(),
            try_lock: format!("{schema}.try_lock").into(),
            schema,
            durably,
        }
    }

    pub(super) fn in_schema(&self, schema: Schema) -> Self {
        Self::new(schema, self.durably)
    }

    pub(super) fn with_session_durability(&self) -> Self {
        Self::new(self.schema.clone(), false)
    }

    /// Opens a transaction, with the claim where there is a procedure for it.
    pub(super) fn begin(
        &self,
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
        let prepared = match claim {
            Some(request) if request.seen.is_none() => {
                self.call_claim_first(request.identity, limits)
            }
            claim => self.prepare(limits, claim),
        };
        format!("BEGIN{isolation} READ WRITE; {prepared}; {SAVEPOINT}")
    }

    /// The settings of an attempt's transaction, and its claim.
    fn prepare(&self, limits: Limits, claim: Option<ClaimRequest<'_>>) -> String {
        let limits = [
            ("statement_timeout", limits.statement),
            ("idle_in_transaction_session_timeout", limits.idle),
        ];
        let limits = limits.into_iter().filter_map(|(setting, milliseconds)| {
            Some(format!("SET LOCAL {setting} = {}", milliseconds?))
        });
        let mut statements = vec!["SET LOCAL idem.transaction = 'claimed'".to_owned()];
        statements.extend(limits);
        statements.extend(claim.map(|request| self.call_claim(request)));
        statements.join("; ")
    }

    /// The same for an identity of which no record has been seen, as one statement.
    fn call_claim_first(&self, identity: &Identity, limits: Limits) -> String {
        let (schema, lock_id) = (&self.schema, self.lock_id(identity));
        let limit =
            |milliseconds: Option<u64>| or_null(milliseconds.map(|limit| format!("'{limit}'")));
        let (statement, idle) = (limit(limits.statement), limit(limits.idle));
        let identity = bytes(identity.as_bytes());
        format!("CALL {schema}.claim_first({identity}, {lock_id}, {statement}, {idle})")
    }

    pub(super) fn call_claim(&self, request: ClaimRequest<'_>) -> String {
        let attempts = or_null(request.seen.map(|seen| seen.attempts));
        let settled_at = or_null(request.seen.map(|seen| seen.settled_at.0));
        let identity = bytes(request.identity.as_bytes());
        let (schema, lock_id) = (&self.schema, self.lock_id(request.identity));
        format!("CALL {schema}.claim({identity}, {lock_id}, {attempts}, {settled_at})")
    }

    pub(super) fn lock_id(&self, identity: &Identity) -> i64 {
        self.schema.lock(identity.lock_id())
    }

    /// Reads a record. Takes the lock if there is none, or if the third value says so. With placeholders for the
    /// identity, the lock's id and that value.
    ///
    /// The snapshot may be older than the lock. That does no harm, because the claim that follows a free lock reads
    /// again.
    pub(super) fn look(&self, setup: &Setup) -> &Arc<str> {
        if setup.has_procedures {
            &self.look
        } else {
            &self.look_plainly
        }
    }

    /// Takes the lock if it is free, then reads: two statements, so that the read has a newer snapshot.
    pub(super) fn read(&self, identity: &Identity, setup: &Setup) -> String {
        let try_lock = self.try_lock(setup);
        let (lock_id, record) = (self.lock_id(identity), self.select_record(identity));
        format!("SELECT {try_lock}({lock_id}), {HEX_OUTPUT}; {record}")
    }

    /// The claim without a procedure, inside its transaction. If a record is to be replaced it takes
    /// [`hold_record`](Self::hold_record) too.
    pub(super) fn claim_plainly(&self, request: ClaimRequest<'_>, setup: &Setup) -> String {
        let read = self.read(request.identity, setup);
        if request.seen.is_some() {
            read
        } else {
            format!("{read}; {SAVEPOINT}")
        }
    }

    /// Keeps a purge away from the record that the attempt is going to replace. Only for the holder of
    /// the lock: others would wait for the holder's attempt here.
    pub(super) fn hold_record(&self, identity: &Identity) -> String {
        let record = self.select_record(identity);
        format!("SELECT true, {HEX_OUTPUT}; {record} FOR UPDATE; {SAVEPOINT}")
    }

    pub(super) fn rollback_and_find(&self, identity: &Identity) -> String {
        format!("ROLLBACK; {}", self.find(identity))
    }

    pub(super) fn find(&self, identity: &Identity) -> String {
        format!("SELECT {HEX_OUTPUT}; {}", self.select_record(identity))
    }

    fn select_record(&self, identity: &Identity) -> String {
        format!(
            "SELECT state, attempts, status, fingerprint, response, {}, {}, {} \
             FROM {}.records WHERE identity OPERATOR(pg_catalog.=) {}",
            microseconds("settled_at"),
            microseconds("expires_at"),
            microseconds("pg_catalog.clock_timestamp()"),
            self.schema,
            bytes(identity.as_bytes()),
        )
    }

    pub(super) fn purge(&self, limit: u32) -> String {
        let schema = &self.schema;
        format!(
            "BEGIN READ WRITE; DELETE FROM {schema}.records WHERE ctid = ANY (ARRAY( \
             SELECT ctid FROM {schema}.records WHERE expires_at <= statement_timestamp() \
             ORDER BY expires_at LIMIT {limit} FOR UPDATE SKIP LOCKED)); COMMIT"
        )
    }

    /// Deletes a scope's records, and counts those that are left of the ones that were settled until a
    /// time, which is the beginning unless it is given. Returns the count and the time.
    pub(super) fn erase(&self, scope: &ScopeDigest, until: Option<Timestamp>) -> String {
        let (schema, of_scope) = (&self.schema, of(scope));
        let until = until.map_or_else(|| microseconds("now()"), |until| until.0.to_string());
        format!(
            "{BEGIN_PLAIN}; DELETE FROM {schema}.records WHERE {of_scope}; \
             SELECT count(*), {until} FROM {schema}.records \
             WHERE {of_scope} AND {} <= {until}; COMMIT",
            microseconds("settled_at"),
        )
    }

    /// Deletes a record unless an attempt holds it: one row if it did so. Otherwise two: whether an
    /// attempt holds the identity, and whether one wrote a record in the meantime.
    ///
    /// The record is deleted before the lock is tried. In the other order it could be the record of an
    /// attempt that had the lock.
    pub(super) fn forget(&self, identity: &Identity, setup: &Setup) -> String {
        let (schema, id) = (&self.schema, bytes(identity.as_bytes()));
        let (try_lock, lock_id) = (self.try_lock(setup), self.lock_id(identity));
        format!(
            "{BEGIN_PLAIN}; DELETE FROM {schema}.records WHERE ctid = ANY (ARRAY( \
             SELECT ctid FROM {schema}.records WHERE identity = {id} FOR UPDATE SKIP LOCKED)) \
             RETURNING true; SELECT NOT {try_lock}({lock_id}); \
             SELECT EXISTS (SELECT FROM {schema}.records WHERE identity = {id}); COMMIT"
        )
    }

    pub(super) fn tally(&self, scope: Option<&ScopeDigest>) -> String {
        let condition = scope.map_or_else(String::new, |scope| format!("WHERE {}", of(scope)));
        let is_expired = "expires_at <= statement_timestamp()";
        // An infinite time can't be a number.
        let finite = |function: &str, time: &str, more: &str| {
            let value = format!("{function}({time}) FILTER (WHERE isfinite({time}){more})");
            microseconds(&value)
        };
        format!(
            "SELECT tally.*, {} FROM (SELECT) AS one LEFT JOIN (SELECT operation, state::int8, count(*), \
             count(*) FILTER (WHERE {is_expired}), sum(attempts), sum(octet_length(response)), \
             {} AS a, {} AS b, {} AS c \
             FROM {}.records {condition} GROUP BY operation, state) AS tally ON true",
            microseconds("statement_timestamp()"),
            finite("min", "settled_at", ""),
            finite("max", "settled_at", ""),
            finite("min", "expires_at", &format!(" AND {is_expired}")),
            self.schema,
        )
    }

    /// A first record and its commit as one message. sqlx still counts a transaction as open, so the
    /// commit opens the next one.
    pub(super) fn insert_and_commit(&self, draft: &Draft<'_>) -> String {
        format!("{}; COMMIT AND CHAIN", self.call_record(draft))
    }

    pub(super) fn call_record(&self, draft: &Draft<'_>) -> String {
        let schema = &self.schema;
        let identity = bytes(draft.identity.as_bytes());
        let operation = bytes(draft.operation.as_str().as_bytes());
        let (state, attempts, status) = (draft.state.code(), draft.attempts, draft.status.as_u16());
        let fingerprint = bytes(&draft.fingerprint.to_bytes());
        let response = or_null(draft.response.map(bytes));
        let (ttl, durably) = (draft.ttl.as_micros(), self.durably);
        format!(
            "CALL {schema}.record_first({identity}, {operation}, {state}::pg_catalog.int2, {attempts}, \
             {status}::pg_catalog.int2, \
             {fingerprint}, {response}, {ttl}, {durably}, NULL, NULL)"
        )
    }

    /// The lock function.
    pub(super) fn try_lock(&self, setup: &Setup) -> &str {
        if setup.has_procedures {
            &self.try_lock
        } else {
            TRY_LOCK
        }
    }

    /// Locks a free identity of this session alone, as many instances may test at once, and counts the
    /// session's locks.
    pub(super) fn test_lock(&self, setup: &Setup) -> String {
        let try_lock = self.try_lock(setup);
        format!(
            "BEGIN; SELECT {try_lock}(pg_catalog.pg_backend_pid()); \
             SELECT pg_catalog.count(*) FROM pg_catalog.pg_locks \
             WHERE locktype = 'advisory' AND pid = pg_catalog.pg_backend_pid() AND granted; ROLLBACK"
        )
    }

    /// The facts of a [`Setup`].
    pub(super) fn learn(&self) -> String {
        let schema = &self.schema;
        format!(
            "SELECT (SELECT max(version) FROM {schema}.migrations), \
             EXISTS (SELECT FROM {schema}.migrations WHERE version = {}), \
             (SELECT setting::bigint FROM pg_catalog.pg_settings WHERE name = 'statement_timeout'), \
             (SELECT setting::bigint FROM pg_catalog.pg_settings \
             WHERE name = 'idle_in_transaction_session_timeout'), \
             (SELECT pg_catalog.bool_and(pg_catalog.has_table_privilege('{schema}.records', needed)) \
             FROM pg_catalog.unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) AS needed), \
             pg_catalog.has_table_privilege('{schema}.records', 'DELETE'), \
             (SELECT relpersistence = 'u' FROM pg_catalog.pg_class \
             WHERE oid = '{schema}.records'::pg_catalog.regclass)",
            Setup::PROCEDURES
        )
    }

    /// Begins the transaction of a migration. The lock belongs to the transaction, so none stays in the
    /// session.
    pub(super) fn begin_migration(&self) -> String {
        let lock_id = self.schema.lock(7_593_137_320_331);
        format!("BEGIN READ WRITE; SELECT pg_catalog.pg_advisory_xact_lock({lock_id})")
    }

    /// The statements of runs.
    pub(super) fn runs(&self) -> RunSql {
        let dialect = Dialect {
            now: NOW,
            equals: "OPERATOR(pg_catalog.=)",
            bytes,
            text: |text| {
                format!(
                    "pg_catalog.convert_from({}, 'UTF8')",
                    bytes(text.as_bytes())
                )
            },
            lock: " FOR NO KEY UPDATE SKIP LOCKED",
            proof: None,
            own: IN_TRANSACTION,
            parameter: |number| format!("${number}"),
        };
        let place = |table| format!("{}.{table}", self.schema);
        RunSql::new(dialect, place("runs"), place("steps"), place("records"))
    }

    /// A migration's script, whose names are those of the default schema.
    pub(super) fn script(&self, script: &str) -> String {
        let schema = &self.schema;
        let script = script.replace("idem.", &format!("{schema}."));
        // This is a setting.
        script.replace(&format!("{schema}.transaction"), "idem.transaction")
    }
}

/// Takes everything after BEGIN out of [`Sql::begin`].
pub(super) fn split_off_rest(begin: &mut String) -> String {
    let end = begin.find("; ").unwrap_or(begin.len());
    let rest = begin.split_off(end);
    rest.trim_start_matches("; ").to_owned()
}

/// Outside of the claim's transaction the state is null, which the table refuses: so the statement
/// that writes the record also checks that this is the claim's transaction.
fn insert(schema: &Schema, may_commit: &str) -> String {
    format!(
        "INSERT INTO {schema}.records \
         (identity, operation, state, attempts, status, fingerprint, response, settled_at, expires_at) \
         VALUES ($1, $2, CASE WHEN {may_commit} THEN $3::pg_catalog.int2 END, $4, $5, $6, $7, \
         pg_catalog.clock_timestamp(), {EXPIRES_AT}) {RETURNING}"
    )
}

fn look(schema: &Schema, try_lock: &str) -> String {
    format!(
        "SELECT record.state, record.attempts, record.status, record.fingerprint, record.response, \
         record.settled_at, record.expires_at, pg_catalog.clock_timestamp(), \
         CASE WHEN record.identity IS NULL OR $3 THEN {try_lock}($2) END, record.identity IS NOT NULL \
         FROM (SELECT) AS one LEFT JOIN {schema}.records AS record \
         ON record.identity OPERATOR(pg_catalog.=) $1"
    )
}

fn update(schema: &Schema, may_commit: &str) -> String {
    format!(
        "UPDATE {schema}.records SET operation = $2, \
         state = CASE WHEN {may_commit} THEN $3::pg_catalog.int2 END, attempts = $4, status = $5, \
         fingerprint = $6, response = $7, settled_at = pg_catalog.clock_timestamp(), \
         expires_at = {EXPIRES_AT} WHERE identity OPERATOR(pg_catalog.=) $1 \
         AND attempts OPERATOR(pg_catalog.=) $9 AND {} OPERATOR(pg_catalog.=) $10 {RETURNING}",
        microseconds("settled_at"),
    )
}

/// The clock is read a second time, so a record never answers for less than its time to live.
const EXPIRES_AT: &str = "pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) \
     pg_catalog.make_interval(secs => $8::pg_catalog.int8::pg_catalog.float8 \
     OPERATOR(pg_catalog./) 1000000)";

/// As they are: arithmetic would cost more than the columns do.
const RETURNING: &str = "RETURNING settled_at, expires_at";

fn of(scope: &ScopeDigest) -> String {
    let (first, last) = (bytes(&scope.first()), bytes(&scope.last()));
    format!("identity BETWEEN {first} AND {last}")
}

/// The clock, in microseconds since 1970.
const NOW: &str = "(extract(epoch FROM pg_catalog.clock_timestamp()) \
     OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8";

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
