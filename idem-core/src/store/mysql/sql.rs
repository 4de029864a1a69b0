//! The statements. Only hex, integers and the table's name are formatted into them, and only in
//! this file.

use std::sync::Arc;
use std::time::Duration;

use super::server::Server;
use crate::digest::hex;
use crate::identity::{Identity, ScopeDigest};
use crate::policy::Isolation;
use crate::record::State;
use crate::store::{ClaimRequest, Opening};

/// The savepoint is behind the claim: so the identity is still held when the rest is undone. And
/// it ends with the transaction: that is how a handler that ended it is found out.
const SAVEPOINT: &str = "SAVEPOINT idem_attempt";

pub(super) const RELEASE: &str = "RELEASE SAVEPOINT idem_attempt";

/// With a row for each error of the session's last statement before the savepoint's answer.
pub(super) const UNDO: &str = "SHOW ERRORS; ROLLBACK TO SAVEPOINT idem_attempt";

/// Says nothing of the session: it is for the next transaction alone.
const READ_COMMITTED: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// The clock, in microseconds since 1970, whatever the session's time zone is.
const NOW: &str = "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))";

/// What is so long before the server's limit that the engine's own deadline comes first.
const GRACE: Duration = Duration::from_secs(1);

/// What the sessions of a pool have, and get back; in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Session {
    /// `wait_timeout`: how long a session may be idle, in a transaction too.
    pub(super) idle: u64,
    /// `innodb_lock_wait_timeout`.
    pub(super) lock_wait: u64,
}

/// The statements for one database.
#[derive(Debug)]
pub(super) struct Sql {
    server: Server,
    session: Session,
    /// The table, with the name of its database: a handler may `USE` another.
    records: String,
    /// Writes a record in the place of the claim's row, with places for bound values, where it can
    /// still be undone. The time of the settling is the answer's insert id.
    pub(super) update: Arc<str>,
    /// Commits if this is still the claim's own transaction.
    pub(super) commit: Arc<str>,
    /// Leaves a session as it was before a claim that failed.
    restore: String,
}

impl Sql {
    /// How many answers [`commit`](Self::commit) has.
    pub(super) const COMMIT_ANSWERS: usize = 3;

    pub(super) fn new(server: Server, session: Session, database: &str) -> Self {
        let records = format!("`{}`.idem_records", database.replace('`', "``"));
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
            restore,
        }
    }

    /// A transaction without a claim.
    pub(super) fn begin(&self, opening: Opening) -> String {
        let mut statements = vec![self.open(opening, "")];
        statements.extend(begin(opening));
        statements.push(SAVEPOINT.to_owned());
        statements.join("; ")
    }

    /// The claim's transaction and the claim: a row that only a commit behind idem's back makes
    /// visible. It fails where the identity is held or recorded.
    pub(super) fn claim(&self, request: ClaimRequest<'_>) -> String {
        let records = &self.records;
        let identity = bytes(request.identity.as_bytes());
        let least = self.server.least_lock_wait();
        let impatiently = format!(", SESSION innodb_lock_wait_timeout = {least}");
        let mut statements = vec![self.open(request.opening, &impatiently)];
        if self.server.inserts_wait() {
            statements.push(READ_COMMITTED.to_owned());
            statements.push(format!(
                "SELECT 1 FROM {records} WHERE identity = {identity} {}",
                self.server.shared_lock()
            ));
            statements.push("COMMIT".to_owned());
        }
        statements.extend(begin(request.opening));
        let mut inserted = identity.clone();
        if let Some(seen) = request.seen {
            statements.push(format!(
                "DELETE FROM {records} WHERE identity = {identity} \
                 AND attempts = {} AND settled_at = {}",
                seen.attempts, seen.settled_at.0
            ));
            // The table refuses null, if what was seen is not what was there.
            inserted = format!("IF(ROW_COUNT() = 1, {identity}, NULL)");
        }
        statements.push(format!(
            "INSERT INTO {records} \
             (identity, operation, state, attempts, status, fingerprint, settled_at, expires_at) \
             VALUES ({inserted}, CONVERT({} USING utf8mb4), {}, {}, 500, {}, {NOW}, {NOW} + {})",
            bytes(request.operation.as_str().as_bytes()),
            State::Ended.code(),
            request.attempt,
            bytes(&request.fingerprint.to_bytes()),
            request.ttl.as_micros(),
        ));
        statements.push(format!(
            "SET SESSION innodb_lock_wait_timeout = {}",
            self.session.lock_wait
        ));
        statements.push(SAVEPOINT.to_owned());
        statements.join("; ")
    }

    /// Without `autocommit`, what a handler writes after its transaction has ended, by itself or as
    /// the victim of a deadlock, is in another one that nobody commits.
    fn open(&self, opening: Opening, more: &str) -> String {
        let limit = (opening.deadline + GRACE).as_secs().max(1);
        let idle = limit.min(self.session.idle);
        format!("SET autocommit = 0, SESSION wait_timeout = {idle}{more}")
    }

    /// Reads a record, and fails if the identity is in flight.
    pub(super) fn look(&self, identity: &Identity) -> String {
        format!("{} {}", self.find(identity), self.server.shared_lock())
    }

    /// The same after a claim that failed.
    pub(super) fn restore_and_look(&self, identity: &Identity) -> String {
        format!("{}; {}", self.restore, self.look(identity))
    }

    /// Reads a record, without a lock; what is not committed is not seen.
    pub(super) fn find(&self, identity: &Identity) -> String {
        format!(
            "{READ_COMMITTED}; SELECT state, attempts, status, fingerprint, response, settled_at, \
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

    /// How many records of a scope are committed, held by an attempt or not.
    pub(super) fn count(&self, scope: &ScopeDigest) -> String {
        format!(
            "{READ_COMMITTED}; SELECT COUNT(*) FROM {} WHERE {}",
            self.records,
            of(scope)
        )
    }

    /// Row by row, with no lock on the gaps between them, where others insert. The join is straight
    /// so that no row is touched that was not chosen.
    fn delete(&self, condition: &str) -> String {
        let records = &self.records;
        format!(
            "{READ_COMMITTED}; DELETE {records} FROM \
             (SELECT identity FROM {records} WHERE {condition} FOR UPDATE SKIP LOCKED) AS chosen \
             STRAIGHT_JOIN {records} USING (identity)"
        )
    }

    /// Does nothing, with every right that idem needs.
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
