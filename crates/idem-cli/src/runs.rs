//! The commands on unfinished runs, and what the others have to know of them.

use std::borrow::Cow;

use idem_core::{
    Engine, IdempotencyKey, Operation, Resolution, Resolved, StepConnection, StepStore, StoreError,
    UnfinishedRun,
};

use crate::arguments::{Consent, IdentityOf, ResolutionOf};
use crate::database::{Engines, Setup};
use crate::failure::{Failure, Kind, chain};
use crate::output::{self, Report};

/// The runs of which `find` tries the operations.
const TRIED: u32 = 100;

const IN_FLIGHT: &str = "an attempt of this run is in flight, so nothing is changed; look at the run again, then decide";

pub(crate) async fn list<C: StepConnection>(
    engine: &Engine<StepStore<C>>,
    limit: u32,
) -> Result<Report, Failure> {
    let runs = engine.unfinished_runs(limit).await.map_err(failure)?;
    Ok(output::runs(&runs, limit))
}

pub(crate) async fn show<C: Setup>(
    engines: &Engines<C>,
    identity: &IdentityOf,
) -> Result<Report, Failure> {
    let (scope, key) = (identity.scope.get()?, identity.key.get()?);
    let operation = identity.operation();
    let run = engines.steps.find_run(scope, &operation, &key).await;
    match run.map_err(failure)? {
        Some(run) => Ok(output::run(&run, scope, &key)),
        None => Err(missing(engines, scope, &operation, &key).await?),
    }
}

/// The answer for a key without a run.
async fn missing<C: Setup>(
    engines: &Engines<C>,
    scope: Option<&str>,
    operation: &Operation,
    key: &IdempotencyKey,
) -> Result<Failure, Failure> {
    let message = match engines.records.find(scope, operation, key).await? {
        Some(_) => "no unfinished run of this key: it has a record, which `idem show` shows",
        None => "no unfinished run of this key, and no record",
    };
    Ok(Failure::new(Kind::NotFound, message))
}

pub(crate) async fn resolve<C: Setup>(
    engines: &Engines<C>,
    identity: &IdentityOf,
    step: &str,
    resolution: &ResolutionOf,
    consent: &Consent,
) -> Result<Report, Failure> {
    let (scope, key) = (identity.scope.get()?, identity.key.get()?);
    let (operation, found) = (identity.operation(), resolution.get()?);
    let is_dry_run = !consent.get()?;
    let done = output::resolved(step, found.is_some(), is_dry_run);
    if !is_dry_run {
        let resolution = found.as_ref().map_or(Resolution::Absent, Resolution::Found);
        let engine = &engines.steps;
        let resolved = engine.resolve_step(scope, &operation, &key, step, resolution);
        match resolved.await.map_err(failure)? {
            Resolved::Done => return Ok(done),
            Resolved::InFlight => return Err(Failure::new(Kind::Busy, IN_FLIGHT)),
            Resolved::Missing => {}
        }
    }
    let run = engines.steps.find_run(scope, &operation, &key).await;
    let Some(run) = run.map_err(failure)? else {
        return Err(missing(engines, scope, &operation, &key).await?);
    };
    if run.is_leased() {
        return Err(Failure::new(Kind::Busy, IN_FLIGHT));
    }
    let known = run.steps.iter().find(|recorded| recorded.name == step);
    match known {
        Some(known) if known.is_uncertain && is_dry_run => Ok(done),
        // An attempt has begun the call after the resolution was refused.
        Some(known) if known.is_uncertain => Err(Failure::new(Kind::Busy, IN_FLIGHT)),
        Some(_) => {
            let message = "the step has a result, so there is nothing to resolve";
            Err(Failure::new(Kind::NotFound, message))
        }
        None => {
            let names: Vec<&str> = run.steps.iter().map(|step| step.name.as_str()).collect();
            let message = format!(
                "the run has no such step; its steps are: {}",
                names.join(", ")
            );
            Err(Failure::new(Kind::NotFound, message))
        }
    }
}

/// Whether there is a place for runs: tables, which `migrate --steps` makes.
pub(crate) async fn have_tables<C: StepConnection>(
    engine: &Engine<StepStore<C>>,
) -> Result<bool, Failure> {
    match engine.unfinished_runs(0).await {
        Ok(_) => Ok(true),
        Err(error) if lacks_tables(&error) => Ok(false),
        // What MySQL says of a missing table to a role that has no right on it.
        Err(error) if code(&error).as_deref() == Some("42000") => {
            let reason = chain(&error);
            eprintln!("idem: runs are left out, if there are any: {reason}");
            Ok(false)
        }
        Err(error) => Err(error.into()),
    }
}

fn lacks_tables(error: &StoreError) -> bool {
    match code(error).as_deref() {
        // PostgreSQL; MariaDB and MySQL.
        Some(code) => matches!(code, "42P01" | "42S02"),
        // SQLite has no code for it.
        None => chain(error).contains("no such table"),
    }
}

/// The database's code for a fault of the setup.
fn code(error: &StoreError) -> Option<Cow<'_, str>> {
    let StoreError::Misconfigured(cause) = error else {
        return None;
    };
    let cause: &sqlx::Error = cause.downcast_ref()?;
    cause.as_database_error()?.code()
}

/// An error of a command that needs the tables of runs.
fn failure(error: StoreError) -> Failure {
    if lacks_tables(&error) {
        let message = format!(
            "there are no tables of runs; if the service has handlers with steps, run `idem migrate --steps` ({})",
            chain(&error)
        );
        return Failure::new(Kind::Problem, message);
    }
    error.into()
}

/// The run of a key without a record. What is known of records is said also if runs can't be read.
pub(crate) async fn of_unrecorded<C: StepConnection>(
    engine: &Engine<StepStore<C>>,
    scope: Option<&str>,
    operation: &Operation,
    key: &IdempotencyKey,
) -> Option<UnfinishedRun> {
    readable(engine.find_run(scope, operation, key).await).flatten()
}

/// The operations of the oldest unfinished runs; `None` if runs can't be read.
pub(crate) async fn operations<C: StepConnection>(
    engine: &Engine<StepStore<C>>,
) -> Option<Vec<Operation>> {
    let runs = readable(engine.unfinished_runs(TRIED).await)?;
    Some(runs.into_iter().map(|run| run.operation).collect())
}

fn readable<T>(read: Result<T, StoreError>) -> Option<T> {
    match read {
        Ok(read) => Some(read),
        Err(error) => {
            if !lacks_tables(&error) {
                eprintln!("idem: unfinished runs can't be read: {}", chain(&error));
            }
            None
        }
    }
}

/// The answer for a key that has a run in place of a record.
pub(crate) fn unfinished(run: &UnfinishedRun) -> Failure {
    let message = format!(
        "no record of this key yet, but an unfinished run, which `idem run` shows: {}",
        output::summary_of_run(run)
    );
    Failure::new(Kind::NotFound, message)
}
