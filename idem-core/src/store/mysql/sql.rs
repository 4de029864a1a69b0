//! The statements. Only hex, integers and the tables' names are formatted into them, and only in
//! this file.

use std::sync::Arc;
use std::time::Duration;

use super::server::Server;
use crate::digest::hex;
use crate::identity::{Identity, ScopeDigest};
use crate::policy::Isolation;
use crate::record::{State, Timestamp, Version};
use crate::store::run_sql::{Dialect, RunSql, hex_literal};
use crate::store::{ClaimRequest, Opening};

/// The savepoint is set after the claim, so rolling back to it keeps the claim. It ends with the
/// transaction, which detects a handler that ended the transaction.
const SAVEPOINT: &str = "SAVEPOINT idem_attempt";

pub(super) const RELEASE: &str = "RELEASE SAVEPOINT idem_attempt";

/// Returns a row for each error of the session's last statement, then undoes.
pub(super) const UNDO: &str = "SHOW ERRORS; ROLLBACK TO SAVEPOINT idem_attempt";

/// For the next transaction alone; the session's own level stays.
const READ_COMMITTED: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// The clock, in microseconds since 1970; the session's time zone does not matter.
const NOW: &str = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

/// How much later than the engine's deadline the server's limit is.
const GRACE: Duration = Duration::from_secs(1);

/// The settings of the pool's sessions, which are restored after each attempt; in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    /// `wait_timeout`: how long a session may be idle, also in a transaction.
    pub(super) idle: u64,
    /// `innodb_lock_wait_timeout`.
    pub(super) lock_wait: u64,
}

/// The names of the tables. The prefix is one that needs no quotes.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    prefix: Arc<str>,
}

impl Names {
    /// Names with a prefix that is checked.
    pub(super) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
        }
    }

    pub(super) fn records(&self) -> String {
        format!("{}idem_records", self.prefix)
    }

    pub(super) fn migrations(&self) -> String {
        format!("{}idem_migrations", self.prefix)
    }

    /// The facts about a server and the tables.
    pub(super) fn learn(&self) -> String {
        format!(
            "SELECT VERSION(), @@SESSION.wait_timeout, @@SESSION.innodb_lock_wait_timeout, \
             (SELECT MAX(version) FROM {} WHERE success), \
             @@SESSION.autocommit = 1 AND @@SESSION.completion_type = 'NO_CHAIN'",
            self.migrations()
        )
    }

    /// Locks migrations. The lock belongs to the session, which is closed afterwards. 1 if the session
    /// has the lock; 0 if another one held it for ten seconds, NULL after an error.
    pub(super) fn lock(&self) -> String {
        let place = if self.prefix.is_empty() {
            "DATABASE()".to_owned()
        } else {
            format!("CONCAT(DATABASE(), '/{}')", self.prefix)
        };
        format!("SELECT GET_LOCK(CONCAT('idem ', SHA2({place}, 224)), 10) = 1")
    }

    /// The statements of runs. A handler may `USE` another database.
    pub(super) fn runs(&self, database: Option<&str>) -> RunSql {
        let dialect = Dialect {
            now: NOW,
            equals: "=",
            bytes: hex_literal,
            text: |text| format!("CONVERT({} USING utf8mb4)", hex_literal(text.as_bytes())),
            lock: " FOR UPDATE SKIP LOCKED",
            proof: None,
            own: "@@autocommit = 0",
            parameter: |_| "?".to_owned(),
        };
        let database = database.map(|database| format!("`{}`.", database.replace('`', "``")));
        let database = database.unwrap_or_default();
        let place = |table| format!("{database}{}{table}", self.prefix);
        let records = format!("{database}{}", self.records());
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

/// DDL commits by itself, so a migration that was cut short is marked. Ours can be run again.
pub(super) fn forget_failures(bookkeeping: &str) -> String {
    format!("DELETE FROM {bookkeeping} WHERE success = FALSE")
}

/// The statements for one database.
#[derive(Debug)]
pub(super) struct Sql {
    server: Server,
    session: Session,
    /// The table, with the name of its database: a handler may `USE` another.
    records: String,
    /// Writes a record in the place of the claim's row, with placeholders for bound values, and only
    /// without `autocommit`, where it can still be undone. The reply's insert id is `settled_at`.
    pub(super) update: Arc<str>,
    /// Commits if this is still the claim's own transaction.
    pub(super) commit: Arc<str>,
    /// Undoes a claim, and leaves the session as it was before.
    pub(super) restore: Arc<str>,
}

impl Sql {
    /// The number of replies to [`commit`](Self::commit).
    pub(super) const COMMIT_ANSWERS: usize = 3;

    pub(super) fn new(server: Server, session: Session, database: &str, names: &Names) -> Self {
        let records = format!("`{}`.{}", database.replace('`', "``"), names.records());
        let claimed = State::Ended.code();
        let (idle, lock_wait) = (session.idle, session.lock_wait);
        let update = format!(
            "UPDATE {records} SET state = ?, attempts = ?, status = ?, response = ?, \
             settled_at = LAST_INSERT_ID({NOW}), expires_at = {NOW} + ? \
             WHERE identity = ? AND state = {claimed} AND @@SESSION.autocommit = 0"
        );
        let commit =
            format!("{RELEASE}; COMMIT; SET autocommit = 1, SESSION wait_timeout = {idle}");
        let restore = format!(
            "ROLLBACK; SET autocommit = 1, SESSION wait_timeout = {idle}, \
             SESSION innodb_lock_wait_timeout = {lock_wait}"
        );
        Self {
            server,
            session,
            records,
            update: update.into(),
            commit: commit.into(),
            restore: restore.into(),
        }
    }

    /// A transaction without a claim.
    pub(super) fn begin(&self, opening: Opening) -> String {
        let mut statements = vec![self.open(opening, "")];
        statements.extend(begin(opening));
        statements.push(SAVEPOINT.to_owned());
        statements.join("; ")
    }

    /// The claim's transaction and the claim: a row that becomes visible only if the handler commits by
    /// itself. Fails if the identity is held or recorded.
    pub(super) fn claim(&self, request: ClaimRequest<'_>) -> String {
        let records = &self.records;
        let identity = bytes(request.identity.as_bytes());
        let (at_once, mut statements, restored) = if let Some(at_once) = self.server.at_once() {
            (at_once, vec![self.open(request.opening, "")], None)
        } else {
            let shortly = ", SESSION innodb_lock_wait_timeout = 1";
            let lock = self.server.shared_lock();
            let statements = vec![
                self.open(request.opening, shortly),
                READ_COMMITTED.to_owned(),
                format!("SELECT 1 FROM {records} WHERE identity = {identity} {lock}"),
                "COMMIT".to_owned(),
            ];
            let lock_wait = self.session.lock_wait;
            let restored = format!("SET SESSION innodb_lock_wait_timeout = {lock_wait}");
            ("", statements, Some(restored))
        };
        statements.extend(begin(request.opening));
        let mut inserted = identity.clone();
        if let Some(seen) = request.seen {
            statements.push(format!(
                "{at_once}DELETE FROM {records} WHERE identity = {identity} \
                 AND attempts = {} AND settled_at = {}",
                seen.attempts, seen.settled_at.0
            ));
            // The table refuses NULL: so the INSERT fails if the record was not the one that was seen.
            inserted = format!("IF(ROW_COUNT() = 1, {identity}, NULL)");
        }
        statements.push(format!(
            "{at_once}INSERT INTO {records} \
             (identity, operation, state, attempts, status, fingerprint, settled_at, expires_at) \
             VALUES ({inserted}, CONVERT({} USING utf8mb4), {}, {}, 500, {}, {NOW}, {NOW} + {})",
            bytes(request.operation.as_str().as_bytes()),
            State::Ended.code(),
            request.attempt,
            bytes(&request.fingerprint.to_bytes()),
            request.ttl.as_micros(),
        ));
        statements.extend(restored);
        statements.push(SAVEPOINT.to_owned());
        statements.join("; ")
    }

    /// Without `autocommit`, writes after the end of the claim's transaction, such as after a deadlock,
    /// are in another transaction that nobody commits.
    fn open(&self, opening: Opening, more: &str) -> String {
        let limit = (opening.deadline + GRACE).as_secs().max(1);
        let idle = limit.min(self.session.idle);
        format!("SET autocommit = 0, SESSION wait_timeout = {idle}{more}")
    }

    /// Reads a record, and fails if another transaction holds it.
    pub(super) fn read(&self, identity: &Identity) -> String {
        format!("{} {}", self.find(identity), self.server.shared_lock())
    }

    /// The same after a claim that failed.
    pub(super) fn restore_and_read(&self, identity: &Identity) -> String {
        format!("{}; {}", self.restore, self.read(identity))
    }

    /// Reads a committed record, without a lock.
    pub(super) fn find(&self, identity: &Identity) -> String {
        format!("{READ_COMMITTED}; {}", self.select(identity))
    }

    /// The same within a transaction.
    pub(super) fn select(&self, identity: &Identity) -> String {
        format!(
            "SELECT state, attempts, status, fingerprint, response, settled_at, \
             expires_at, {NOW} FROM {} WHERE identity = {}",
            self.records,
            bytes(identity.as_bytes())
        )
    }

    pub(super) fn purge(&self, limit: u32) -> String {
        let expired = format!("expires_at <= {NOW} ORDER BY expires_at LIMIT {limit}");
        self.delete(&expired)
    }

    pub(super) fn erase(&self, scope: &ScopeDigest) -> String {
        self.delete(&of(scope))
    }

    /// The version of a record, also of one that can't be read. `lock` can be
    /// [`shared_lock`](Self::shared_lock).
    pub(super) fn seen(&self, identity: &Identity, lock: &str) -> String {
        format!(
            "{READ_COMMITTED}; SELECT attempts, settled_at FROM {} WHERE identity = {} {lock}",
            self.records,
            bytes(identity.as_bytes())
        )
    }

    pub(super) fn shared_lock(&self) -> &'static str {
        self.server.shared_lock()
    }

    /// Deletes a record of this version, unless it is held.
    pub(super) fn forget(&self, identity: &Identity, seen: Version) -> String {
        self.delete(&format!(
            "identity = {} AND attempts = {} AND settled_at = {}",
            bytes(identity.as_bytes()),
            seen.attempts,
            seen.settled_at.0
        ))
    }

    pub(super) fn tally(&self, scope: Option<&ScopeDigest>) -> String {
        let condition = scope.map_or_else(String::new, |scope| format!("WHERE {}", of(scope)));
        let is_expired = format!("expires_at <= {NOW}");
        format!(
            "{READ_COMMITTED}; SELECT tally.*, {NOW} FROM (SELECT 1) AS one LEFT JOIN \
             (SELECT operation, state, COUNT(*) AS records, \
             CAST(SUM({is_expired}) AS SIGNED) AS expired, CAST(SUM(attempts) AS SIGNED) AS attempts, \
             CAST(SUM(LENGTH(response)) AS SIGNED) AS bytes, MIN(settled_at) AS oldest, \
             MAX(settled_at) AS newest, MIN(IF({is_expired}, expires_at, NULL)) AS oldest_expired \
             FROM {} {condition} GROUP BY operation, state) AS tally ON TRUE",
            self.records
        )
    }

    /// The number of committed records of a scope, locked or not, and the time. With `until`, only of
    /// those that were settled until then.
    pub(super) fn count(&self, scope: &ScopeDigest, until: Option<Timestamp>) -> String {
        let until = until.map_or_else(String::new, |time| format!(" AND settled_at <= {}", time.0));
        format!(
            "{READ_COMMITTED}; SELECT COUNT(*), {NOW} FROM {} WHERE {}{until}",
            self.records,
            of(scope)
        )
    }

    /// Deletes row by row, without a lock on the gaps between them, where others insert. The join is
    /// straight so that only the chosen rows are locked.
    fn delete(&self, condition: &str) -> String {
        let records = &self.records;
        format!(
            "{READ_COMMITTED}; DELETE {records} FROM \
             (SELECT identity FROM {records} WHERE {condition} FOR UPDATE SKIP LOCKED) AS chosen \
             STRAIGHT_JOIN {records} USING (identity)"
        )
    }

    /// Changes nothing, but needs every right that the store needs.
    pub(super) fn test(&self) -> String {
        let records = &self.records;
        format!(
            "INSERT INTO {records} SELECT * FROM {records} WHERE FALSE; \
             UPDATE {records} SET state = 0 WHERE FALSE; DELETE FROM {records} WHERE FALSE"
        )
    }
}

fn begin(opening: Opening) -> impl Iterator<Item = String> {
    let isolation = opening.isolation.map(|isolation| match isolation {
        Isolation::ReadCommitted => READ_COMMITTED,
        Isolation::RepeatableRead => "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        Isolation::Serializable => "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    });
    let statements = isolation
        .into_iter()
        .chain(["START TRANSACTION READ WRITE"]);
    statements.map(str::to_owned)
}

fn of(scope: &ScopeDigest) -> String {
    let (first, last) = (bytes(&scope.first()), bytes(&scope.last()));
    format!("identity BETWEEN {first} AND {last}")
}

fn bytes(bytes: &[u8]) -> String {
    format!("x'{}'", hex(bytes))
}
