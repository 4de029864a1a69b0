//! Handlers in steps: each step is recorded, and a retry resumes after the last one (rules T1 to T14).

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::ops::Deref;
use std::pin::pin;

use futures_util::future::{Either, select};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use crate::meter;
use crate::problem::Problem;
use crate::store::BoxError;
use crate::store::runs::{Lease, RunStore};
use crate::transaction::{Borrowed, Open, Transaction};

mod error;
mod name;
mod operate;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod sql;
mod store;

pub use self::error::StepError;
pub use self::name::StepName;
pub use self::operate::{RecordedStep, Resolution, Resolved, UnfinishedRun};
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mysql"))]
pub use self::sql::{SqlRuns, SqlStepConnection};
pub use self::store::{StepClaim, StepStore};

/// A database that holds runs: sqlx's `PgConnection`, `MySqlConnection` or `SqliteConnection`, or a type of a
/// crate for another store.
pub trait StepConnection: Send + 'static {
    /// The runs in this database.
    type Runs: RunStore;
}

/// The steps of one attempt. A handler takes them by `&mut`, in place of its transaction, and its attribute
/// has a `lease`:
///
/// ```ignore
/// #[idempotent(ttl = "24h", scope = "tenant", lease = "10s", deadline = "60s")]
/// async fn create_ride(
///     steps: &mut Steps<PgConnection>,
///     tenant: Tenant,
///     State(psp): State<Psp>,
///     Json(new): Json<NewRide>,
/// ) -> Result<(StatusCode, Json<Ride>), RideError> {
///     let ride = steps.commit("ride", async |tx| rides::insert(tx, &tenant, &new).await).await?;
///     let charge = steps.call("charge", async |key| psp.charge(key, ride.fare).await).await?;
///     let ride = steps.commit("paid", async |tx| rides::pay(tx, ride.id, &charge).await).await?;
///     Ok((StatusCode::CREATED, Json(ride)))
/// }
/// ```
///
/// Between two steps no transaction is open (rule T12). An attempt that dies leaves its steps, and the next
/// attempt gets their results in place of running them again (rule T7). What a [`commit`](Self::commit)
/// wrote stays, whatever the handler answers at last (rule T6). So this is weaker than one transaction: use
/// it only where a handler has to call another service in the middle.
///
/// # Errors of a step
///
/// An error of the closure is the handler's own: it is returned as it is, and is not recorded. A result
/// that has to be remembered is a value, not an error. An error of the step itself is a [`StepError`]. After
/// it no further step runs, and the request is answered with the error's problem, whatever the handler
/// makes of it.
///
/// # Names
///
/// A step's name is a literal of 1 to 64 of `a-z`, `0-9`, `_`, `.` and `-`, and is used once in an attempt.
/// In a loop it is a pair, such as `("mail", line.id)`. A step that is renamed is a new step (rule T11).
pub struct Steps<C: StepConnection> {
    runs: C::Runs,
    lease: Lease,
    /// A request without a key leaves no trace.
    has_key: bool,
    /// Before the last renewal was sent.
    renewed: Instant,
    /// The steps of earlier attempts.
    recorded: HashMap<String, Recorded>,
    /// The names that this attempt has used.
    used: HashSet<String>,
    broken: Option<Problem>,
}

/// The function of [`Steps`] that recorded a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepKind {
    /// [`Steps::commit`].
    Commit,
    /// [`Steps::call`].
    Call,
    /// [`Steps::call_once`].
    CallOnce,
}

impl StepKind {
    /// The stored form.
    pub const fn code(self) -> i16 {
        match self {
            Self::Commit => 1,
            Self::Call => 2,
            Self::CallOnce => 3,
        }
    }

    const fn from_code(code: i16) -> Option<Self> {
        match code {
            1 => Some(Self::Commit),
            2 => Some(Self::Call),
            3 => Some(Self::CallOnce),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Commit => "commit",
            Self::Call => "call",
            Self::CallOnce => "call_once",
        }
    }
}

#[derive(Debug)]
struct Recorded {
    kind: i16,
    /// `None` for a `call_once` that may have happened.
    result: Option<Vec<u8>>,
}

/// The key of a call to another service: the same in each attempt of the request, and for this step alone.
///
/// It dereferences to 32 hex digits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepKey {
    text: String,
    epoch: u64,
}

impl StepKey {
    /// A number that grows with each attempt that takes over: a fencing token, for a service that takes
    /// one.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
}

impl Deref for StepKey {
    type Target = str;

    fn deref(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for StepKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What another service says about a call that may have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered<T> {
    /// It has happened, with this result.
    Found(T),
    /// It has not happened, and it can't happen any more: this is a proof.
    Absent,
    /// There is no way to know.
    Unknown,
}

/// Whether a step has a result already.
enum Entered<T> {
    Done(T),
    /// A `call_once` of an earlier attempt may have happened.
    Intended,
    New,
}

impl<C: StepConnection> Steps<C> {
    /// Calls another service, at least once and always with the same key, and records the result once
    /// (rule T3).
    ///
    /// The lease is renewed while the call runs. If another attempt has taken over in the meantime, the
    /// call's future is dropped.
    ///
    /// # Errors
    ///
    /// The closure's own, and a [`StepError`].
    ///
    /// # Cancellation
    ///
    /// The call may have happened. A retry calls again, with the same key.
    pub async fn call<T, E, F>(&mut self, name: impl Into<StepName>, work: F) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<StepError>,
        F: AsyncFnOnce(StepKey) -> Result<T, E>,
    {
        let name = name.into().into_string();
        if let Entered::Done(value) = self.enter(&name, StepKind::Call)? {
            return Ok(value);
        }
        let key = self.key(&name);
        let value = self.alive(work(key)).await??;
        let result = self.encode(&name, &value)?;
        self.record(&name, StepKind::Call, Some(result)).await?;
        meter::step(StepKind::Call.name(), false);
        Ok(value)
    }

    /// Calls another service that takes no key: an intent is committed before the call. If there is no
    /// result after it, the call is not made again unless `recover` proves that it has not happened
    /// (rule T4).
    ///
    /// A process that was frozen after its intent makes its call when it wakes. So an answer such as "not
    /// found" proves an absence only where the other service refuses late calls: by a lower
    /// [`StepKey::epoch`], or after the question.
    ///
    /// # Errors
    ///
    /// The closures' own; [`StepError::Uncertain`], now and for each retry, where `recover` answers
    /// [`Recovered::Unknown`].
    ///
    /// # Cancellation
    ///
    /// The call may have happened. A retry asks `recover`.
    pub async fn call_once<T, E, F, R>(
        &mut self,
        name: impl Into<StepName>,
        work: F,
        recover: R,
    ) -> Result<T, E>
    where
        T: Serialize + DeserializeOwned,
        E: From<StepError>,
        F: AsyncFnOnce(StepKey) -> Result<T, E>,
        R: AsyncFnOnce(StepKey) -> Result<Recovered<T>, E>,
    {
        let name = name.into().into_string();
        let key = self.key(&name);
        let found = match self.enter(&name, StepKind::CallOnce)? {
            Entered::Done(value) => return Ok(value),
            Entered::New => {
                self.record(&name, StepKind::CallOnce, None).await?;
                None
            }
            Entered::Intended => match self.alive(recover(key.clone())).await?? {
                Recovered::Found(value) => Some(value),
                Recovered::Unknown => Err(self.fail(StepError::Uncertain(name.clone())))?,
                Recovered::Absent => {
                    // Nobody else calls in the meantime.
                    self.renew().await?;
                    None
                }
            },
        };
        let value = match found {
            Some(value) => value,
            None => self.alive(work(key)).await??,
        };
        let result = self.encode(&name, &value)?;
        self.complete(&name, result).await?;
        meter::step(StepKind::CallOnce.name(), false);
        Ok(value)
    }

    /// Whether there is a result of the step, or may be an effect.
    fn enter<T: DeserializeOwned>(
        &mut self,
        name: &str,
        kind: StepKind,
    ) -> Result<Entered<T>, StepError> {
        if self.broken.is_some() {
            return Err(StepError::Broken);
        }
        if let Err(reason) = name::check(name) {
            return Err(self.misused(name, reason));
        }
        if !self.used.insert(name.to_owned()) {
            return Err(self.misused(name, "the name is used twice in one attempt"));
        }
        let Some(recorded) = self.recorded.get(name) else {
            return Ok(Entered::New);
        };
        if recorded.kind != kind.code() {
            return Err(self.misused(
                name,
                "an earlier attempt has recorded a step of another kind",
            ));
        }
        let Some(result) = &recorded.result else {
            return Ok(Entered::Intended);
        };
        match serde_json::from_slice(result) {
            Ok(value) => {
                meter::step(kind.name(), true);
                Ok(Entered::Done(value))
            }
            Err(error) => Err(self.fail(StepError::Unreadable(name.to_owned(), error.into()))),
        }
    }

    fn encode<T: Serialize>(&mut self, name: &str, value: &T) -> Result<Vec<u8>, StepError> {
        let encoded = serde_json::to_vec(value);
        encoded.map_err(|error| self.fail(StepError::Unreadable(name.to_owned(), error.into())))
    }

    fn key(&self, name: &str) -> StepKey {
        StepKey {
            text: self.lease.identity.derive(&format!("step {name}")),
            epoch: self.lease.epoch.unsigned_abs(),
        }
    }

    async fn renew(&mut self) -> Result<(), StepError> {
        if self.has_key {
            let sent = Instant::now();
            let renewed = self.runs.renew(&self.lease).await;
            self.written(sent, renewed)?;
        }
        Ok(())
    }

    async fn record(
        &mut self,
        name: &str,
        kind: StepKind,
        result: Option<Vec<u8>>,
    ) -> Result<(), StepError> {
        if self.has_key {
            let sent = Instant::now();
            let recorded = self.runs.record(&self.lease, name, kind, result).await;
            self.written(sent, recorded)?;
        }
        Ok(())
    }

    /// Records the result of a `call_once`.
    async fn complete(&mut self, name: &str, result: Vec<u8>) -> Result<(), StepError> {
        if self.has_key {
            let sent = Instant::now();
            let completed = self.runs.complete(&self.lease, name, result).await;
            self.written(sent, completed)?;
        }
        Ok(())
    }

    /// Each write renews the lease, from a time on that is not before it was sent.
    fn written(&mut self, sent: Instant, written: Result<(), StepError>) -> Result<(), StepError> {
        written.map_err(|error| self.fail(error))?;
        self.renewed = sent;
        Ok(())
    }

    /// Runs a call, and renews the lease: before it, if a renewal is due, and in the meantime.
    async fn alive<T>(&mut self, call: impl Future<Output = T>) -> Result<T, StepError> {
        if !self.has_key {
            return Ok(call.await);
        }
        // A process that was frozen between two steps may have lost its lease.
        if self.renewed.elapsed() > self.lease.duration / RENEWALS {
            self.renew().await?;
        }
        let renewing = async {
            loop {
                sleep(self.lease.duration / RENEWALS).await;
                match self.runs.renew(&self.lease).await {
                    Err(StepError::Lost) => return StepError::Lost,
                    Err(error) => {
                        let cause: &dyn std::error::Error = &error;
                        tracing::warn!(error = cause, "the lease could not be renewed");
                    }
                    Ok(()) => {}
                }
            }
        };
        let done = match select(pin!(call), pin!(renewing)).await {
            Either::Left((value, _)) => Ok(value),
            Either::Right((error, _)) => Err(error),
        };
        done.map_err(|error| self.fail(error))
    }

    fn misused(&mut self, name: &str, reason: &'static str) -> StepError {
        self.fail(StepError::Misused {
            name: name.to_owned(),
            reason,
        })
    }

    /// After an error of a step nothing more is written.
    fn fail(&mut self, error: StepError) -> StepError {
        let cause: &dyn std::error::Error = &error;
        tracing::error!(error = cause, "a step failed");
        meter::step_failed(error.problem());
        self.broken.get_or_insert(error.problem());
        error
    }
}

/// In the time of a lease it is renewed so many times.
const RENEWALS: u32 = 3;

#[diagnostic::do_not_recommend]
impl<C: StepConnection> Transaction for Steps<C> {
    type Connection = Self;
    type Store = StepStore<C>;

    const IS_LEASED: bool = true;
}

#[diagnostic::do_not_recommend]
impl<C: StepConnection> crate::adapter::expansion::Leased for Steps<C> {}

#[diagnostic::do_not_recommend]
impl<'c, C: StepConnection> Open<'c> for Steps<C> {
    type Opened = &'c mut Self;

    async fn open(connection: Borrowed<'c, Self>) -> Result<Self::Opened, BoxError> {
        Ok(connection.into_mut())
    }

    fn lend<'r>(opened: &'r mut Self::Opened) -> &'r mut Self
    where
        'c: 'r,
    {
        opened
    }

    // What the steps have committed stays.
    async fn close(_: Self::Opened, _: bool) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<C: StepConnection> fmt::Debug for Steps<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steps")
            .field("lease", &self.lease)
            .field("used", &self.used)
            .finish_non_exhaustive()
    }
}

#[cfg(feature = "sqlite")]
#[cfg(test)]
pub(crate) mod tests;
