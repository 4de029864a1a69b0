//! The statements for runs and steps in tables beside those of records.
//!
//! They are the same on each database, except for a few words of its [`Dialect`]. A fence is the identity,
//! the epoch and the holder of a run, under the run's row lock. The clock decides only when another attempt
//! may claim, never whether a late holder may write.

use std::fmt::Debug;
use std::future::Future;

use super::runs::{Lease, Run, StepRow};
use super::{ClaimRequest, ScopeDigest, Store, StoreError};
use crate::identity::Identity;
use crate::steps::StepKind;

/// A store whose database can also hold runs.
pub trait SqlRunStore: Store<Connection: RunConnection> + Clone + Debug {
    /// Whether a claim writes a row where there is no record.
    #[doc(hidden)]
    const CLAIM_WRITES: bool = false;

    /// Whether a transaction that writes keeps all others from writing.
    #[doc(hidden)]
    const HAS_ONE_WRITER: bool = false;

    #[doc(hidden)]
    fn run_sql(&self) -> RunSql;

    /// The check of the tables of records.
    #[doc(hidden)]
    fn check_records(&self) -> impl Future<Output = Result<(), StoreError>> + Send;

    #[doc(hidden)]
    fn migrate_runs(&self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// Sends the statements of runs. All of them are part of the transaction that is open, or their own.
#[doc(hidden)]
pub trait RunConnection: Send {
    fn read_runs(
        &mut self,
        select: String,
    ) -> impl Future<Output = Result<Vec<Run>, StoreError>> + Send;

    fn read_run(
        &mut self,
        select: String,
    ) -> impl Future<Output = Result<Option<Run>, StoreError>> + Send {
        async { Ok(self.read_runs(select).await?.pop()) }
    }

    fn read_steps(
        &mut self,
        select: String,
    ) -> impl Future<Output = Result<Vec<StepRow>, StoreError>> + Send;

    /// Runs statements, and returns the number of rows that they changed.
    fn change_runs(
        &mut self,
        statements: String,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;

    /// Runs a statement with parameters.
    fn run_prepared(
        &mut self,
        statement: Prepared,
    ) -> impl Future<Output = Result<u64, StoreError>> + Send;
}

/// The words that differ between databases.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialect {
    /// The clock, in microseconds since 1970.
    pub(super) now: &'static str,
    pub(super) equals: &'static str,
    pub(super) bytes: fn(&[u8]) -> String,
    /// Text out of bytes, so that no character needs an escape.
    pub(super) text: fn(&str) -> String,
    /// Locks the rows of a SELECT that nobody else has locked.
    pub(super) lock: &'static str,
    /// A condition that holds only in the transaction that the store began.
    pub(super) own: &'static str,
    /// Statements that fail in another one, where there is no such condition.
    pub(super) proof: Option<&'static str>,
    /// The parameter of this number. The numbers are in the order of the text.
    pub(super) parameter: fn(usize) -> String,
}

/// A statement whose text does not depend on its values, so that a connection prepares it once.
#[derive(Debug)]
#[doc(hidden)]
pub struct Prepared {
    pub(super) text: String,
    pub(super) values: Vec<Value>,
    /// Whether the statement is kept on the connection. Some poolers can't.
    pub(super) has_name: bool,
}

/// A parameter.
#[derive(Debug)]
pub(super) enum Value {
    Bytes(Option<Vec<u8>>),
    Text(String),
    Number(i64),
}

/// The statements for one place.
#[derive(Debug, Clone)]
#[doc(hidden)]
pub struct RunSql {
    dialect: Dialect,
    runs: String,
    steps: String,
    records: String,
    has_names: bool,
}

impl RunSql {
    pub(super) fn new(dialect: Dialect, runs: String, steps: String, records: String) -> Self {
        Self {
            dialect,
            runs,
            steps,
            records,
            has_names: true,
        }
    }

    #[cfg(feature = "postgres")]
    pub(super) fn with_names(mut self, has_names: bool) -> Self {
        self.has_names = has_names;
        self
    }

    pub(crate) fn run(&self, identity: &Identity) -> String {
        let (columns, of) = (self.columns(), self.of(identity.as_bytes()));
        format!("SELECT {columns} FROM {} WHERE {of}", self.runs)
    }

    /// Locks the run, unless a step of its holder has locked it.
    pub(crate) fn lock(&self, identity: &Identity) -> String {
        format!("{}{}", self.run(identity), self.dialect.lock)
    }

    /// Runs, those that were claimed first at the front.
    pub(crate) fn all(&self, limit: u32) -> String {
        let columns = self.columns();
        format!(
            "SELECT {columns} FROM {} ORDER BY claimed_at LIMIT {limit}",
            self.runs
        )
    }

    pub(crate) fn steps(&self, identity: &[u8]) -> String {
        let of = self.of(identity);
        format!(
            "SELECT name, kind, result, recorded_at FROM {} WHERE {of} ORDER BY recorded_at",
            self.steps
        )
    }

    /// A first claim. The steps of a run that has expired are gone then.
    pub(crate) fn insert(&self, request: &ClaimRequest<'_>, lease: &Lease) -> String {
        let (columns, values): (Vec<_>, Vec<_>) = self.claimed(request, lease).into_iter().unzip();
        let (columns, values) = (columns.join(", "), values.join(", "));
        let identity = (self.dialect.bytes)(lease.identity.as_bytes());
        format!(
            "{}; INSERT INTO {} (identity, {columns}) SELECT {identity}, {values}",
            self.delete(lease.identity.as_bytes()),
            self.runs,
        )
    }

    /// The next claim of a run that is locked.
    pub(crate) fn take_over(&self, request: &ClaimRequest<'_>, lease: &Lease) -> String {
        let claimed = self.claimed(request, lease);
        let claimed = claimed.map(|(column, value)| format!("{column} = {value}"));
        let of = self.of(lease.identity.as_bytes());
        format!("UPDATE {} SET {} WHERE {of}", self.runs, claimed.join(", "))
    }

    /// The columns that a claim writes, and their values.
    fn claimed(&self, request: &ClaimRequest<'_>, lease: &Lease) -> [(&'static str, String); 8] {
        let Dialect {
            now, bytes, text, ..
        } = self.dialect;
        let ttl = request.ttl.max(lease.duration).as_micros();
        let duration = lease.duration.as_micros();
        [
            ("operation", text(request.operation.as_str())),
            ("fingerprint", bytes(&request.fingerprint.to_bytes())),
            ("epoch", lease.epoch.to_string()),
            ("holder", bytes(lease.holder.as_bytes())),
            ("attempts", request.attempt.to_string()),
            ("claimed_at", now.to_owned()),
            ("leased_until", format!("{now} + {duration}")),
            ("expires_at", format!("{now} + {ttl}")),
        ]
    }

    /// Proves that the attempt still holds the run, locks the run, and renews the lease. A write on each
    /// database, as the nodes of a cluster compare writes only.
    pub(crate) fn fence(&self, lease: &Lease) -> String {
        let (now, held) = (self.dialect.now, self.held(lease));
        let duration = lease.duration.as_micros();
        format!(
            "UPDATE {} SET leased_until = {now} + {duration} WHERE {held}",
            self.runs
        )
    }

    /// Ends the lease, so that the next attempt may begin at once.
    pub(crate) fn release(&self, lease: &Lease) -> String {
        let (now, held) = (self.dialect.now, self.held(lease));
        format!("UPDATE {} SET leased_until = {now} WHERE {held}", self.runs)
    }

    /// Refuses the last holder, whose lease is over, from here on.
    pub(crate) fn refuse(&self, identity: &Identity) -> String {
        let of = self.of(identity.as_bytes());
        format!("UPDATE {} SET epoch = epoch + 1 WHERE {of}", self.runs)
    }

    pub(crate) fn proof(&self) -> Option<String> {
        self.dialect.proof.map(str::to_owned)
    }

    /// Records a step, in the transaction that the store began and nowhere else.
    pub(crate) fn record(
        &self,
        lease: &Lease,
        name: &str,
        kind: StepKind,
        result: Option<Vec<u8>>,
    ) -> Prepared {
        let Dialect {
            now,
            own,
            parameter,
            ..
        } = self.dialect;
        let [identity, step, epoch, content] = [1, 2, 3, 4].map(parameter);
        let kind = kind.code();
        self.prepared(
            format!(
                "INSERT INTO {} (identity, name, epoch, result, kind, recorded_at) \
                 SELECT {identity}, {step}, {epoch}, {content}, CASE WHEN {own} THEN {kind} END, {now}",
                self.steps
            ),
            vec![
                Value::Bytes(Some(lease.identity.as_bytes().to_vec())),
                Value::Text(name.to_owned()),
                Value::Number(lease.epoch),
                Value::Bytes(result),
            ],
        )
    }

    /// Deletes the intent of a `call_once` that has not happened.
    pub(crate) fn retract(&self, identity: &Identity, name: &str) -> String {
        let Dialect { equals, text, .. } = self.dialect;
        let (of, name) = (self.of(identity.as_bytes()), text(name));
        format!(
            "DELETE FROM {} WHERE {of} AND name {equals} {name} AND result IS NULL",
            self.steps
        )
    }

    /// Replaces the intent of a `call_once` by its result.
    pub(crate) fn complete(&self, identity: &Identity, name: &str, result: Vec<u8>) -> Prepared {
        let Dialect {
            now,
            equals,
            parameter,
            ..
        } = self.dialect;
        let [content, of, step] = [1, 2, 3].map(parameter);
        self.prepared(
            format!(
                "UPDATE {} SET result = {content}, recorded_at = {now} \
                 WHERE identity {equals} {of} AND name {equals} {step} AND result IS NULL",
                self.steps
            ),
            vec![
                Value::Bytes(Some(result)),
                Value::Bytes(Some(identity.as_bytes().to_vec())),
                Value::Text(name.to_owned()),
            ],
        )
    }

    fn prepared(&self, text: String, values: Vec<Value>) -> Prepared {
        Prepared {
            text,
            values,
            has_name: self.has_names,
        }
    }

    /// Deletes the run with its steps.
    pub(crate) fn delete(&self, identity: &[u8]) -> String {
        let of = self.of(identity);
        format!(
            "DELETE FROM {} WHERE {of}; DELETE FROM {} WHERE {of}",
            self.steps, self.runs
        )
    }

    /// Deletes the record that a run replaces, or the row that the store's claim has written.
    pub(crate) fn delete_record(&self, identity: &Identity) -> String {
        format!(
            "DELETE FROM {} WHERE {}",
            self.records,
            self.of(identity.as_bytes())
        )
    }

    pub(crate) fn erase(&self, scope: &ScopeDigest) -> (String, String) {
        let bytes = self.dialect.bytes;
        let (first, last) = (bytes(&scope.first()), bytes(&scope.last()));
        let of = format!("WHERE identity BETWEEN {first} AND {last}");
        (
            format!("DELETE FROM {} {of}", self.runs),
            format!("DELETE FROM {} {of}", self.steps),
        )
    }

    /// Runs that have expired, and that nobody has locked.
    pub(crate) fn expired(&self, limit: u32) -> String {
        let Dialect { now, lock, .. } = self.dialect;
        let columns = self.columns();
        format!(
            "SELECT {columns} FROM {} WHERE expires_at <= {now} AND leased_until <= {now} \
             ORDER BY expires_at LIMIT {limit}{lock}",
            self.runs
        )
    }

    fn columns(&self) -> String {
        format!(
            "identity, operation, fingerprint, epoch, holder, attempts, claimed_at, leased_until, expires_at, {}",
            self.dialect.now
        )
    }

    fn of(&self, identity: &[u8]) -> String {
        let Dialect { bytes, equals, .. } = self.dialect;
        format!("identity {equals} {}", bytes(identity))
    }

    fn held(&self, lease: &Lease) -> String {
        let Dialect { bytes, equals, .. } = self.dialect;
        format!(
            "{} AND epoch {equals} {} AND holder {equals} {}",
            self.of(lease.identity.as_bytes()),
            lease.epoch,
            bytes(lease.holder.as_bytes())
        )
    }
}

#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(super) fn hex_literal(bytes: &[u8]) -> String {
    format!("x'{}'", crate::digest::hex(bytes))
}

/// Sends the statements on a connection of sqlx.
macro_rules! runs {
    ($connection:ty, $store:ty, $store_error:path) => {
        impl crate::steps::StepConnection for $connection {
            type Runs = crate::steps::SqlRuns<$store>;
        }

        impl crate::store::run_sql::RunConnection for $connection {
            async fn read_runs(
                &mut self,
                select: String,
            ) -> Result<Vec<crate::store::runs::Run>, StoreError> {
                let rows = sqlx::raw_sql(AssertSqlSafe(select)).fetch_all(self).await;
                let rows = rows.map_err($store_error)?;
                let runs = rows.iter().map(|row| {
                    Ok(crate::store::runs::Run {
                        identity: row.try_get(0)?,
                        operation: row.try_get(1)?,
                        fingerprint: row.try_get(2)?,
                        epoch: row.try_get(3)?,
                        holder: row.try_get(4)?,
                        attempts: row.try_get(5)?,
                        claimed_at: row.try_get(6)?,
                        leased_until: row.try_get(7)?,
                        expires_at: row.try_get(8)?,
                        now: row.try_get(9)?,
                    })
                });
                let runs: sqlx::Result<_> = runs.collect();
                runs.map_err($store_error)
            }

            async fn read_steps(
                &mut self,
                select: String,
            ) -> Result<Vec<crate::store::runs::StepRow>, StoreError> {
                let rows = sqlx::raw_sql(AssertSqlSafe(select)).fetch_all(self).await;
                let rows = rows.map_err($store_error)?;
                let steps = rows.iter().map(|row| {
                    Ok(crate::store::runs::StepRow {
                        name: row.try_get(0)?,
                        kind: row.try_get(1)?,
                        result: row.try_get(2)?,
                        recorded_at: row.try_get(3)?,
                    })
                });
                let steps: sqlx::Result<_> = steps.collect();
                steps.map_err($store_error)
            }

            async fn change_runs(&mut self, statements: String) -> Result<u64, StoreError> {
                let done = sqlx::raw_sql(AssertSqlSafe(statements)).execute(self).await;
                Ok(done.map_err($store_error)?.rows_affected())
            }

            async fn run_prepared(
                &mut self,
                statement: crate::store::run_sql::Prepared,
            ) -> Result<u64, StoreError> {
                use crate::store::run_sql::Value;
                let query = sqlx::query(AssertSqlSafe(statement.text));
                let mut query = query.persistent(statement.has_name);
                for value in statement.values {
                    query = match value {
                        Value::Bytes(bytes) => query.bind(bytes),
                        Value::Text(text) => query.bind(text),
                        Value::Number(number) => query.bind(number),
                    };
                }
                let done = query.execute(self).await;
                Ok(done.map_err($store_error)?.rows_affected())
            }
        }
    };
}
