//! The commands, on an engine of any database.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write as _;

use idem_core::{Engine, Forgotten, IdempotencyKey, Operation, Stats, Store, StoreError};
use serde_json::json;

use crate::arguments::{Arguments, Command, Consent, IdentityOf, Scope, checked};
use crate::database::{Engines, Setup};
use crate::failure::{Failure, Kind};
use crate::output::{self, Entry, Report};
use crate::progress::shown;
use crate::runs;

pub(crate) async fn run<C: Setup>(
    arguments: &Arguments,
    engines: &Engines<C>,
) -> Result<Report, Failure> {
    let engine = &engines.records;
    match &arguments.command {
        Command::Check => {
            C::check(engines).await?;
            Ok(Report::new(C::FIT, json!({ "database": C::NAME })))
        }
        Command::Migrate { steps } => {
            let steps = shown("migrating", C::migrate(engines, *steps)).await?;
            let text = "the tables are up to date, and the check found no fault\n";
            let json = json!({ "database": C::NAME, "steps": steps });
            Ok(Report::new(text, json))
        }
        Command::Stats {
            scope: None,
            unscoped: false,
        } => {
            let counted = shown("counting", engine.stats()).await?;
            Ok(output::stats(&counted))
        }
        Command::Stats { scope, .. } => {
            let scope = checked(scope.as_deref())?;
            let counted = shown("counting", engine.stats_of(scope)).await?;
            Ok(output::stats(&counted))
        }
        Command::Show { identity, body } => show(engines, identity, body.as_deref()).await,
        Command::Find { scope, key } => {
            let (scope, key) = (scope.get()?, key.get()?);
            find(engines, scope, &key).await
        }
        Command::Erase { scope, consent } => erase(engines, scope, consent).await,
        Command::Purge { dry_run } if !C::IS_PURGED => {
            let text = "nothing to purge: the server deletes what has expired\n";
            Ok(Report::new(text, output::deleted(0, *dry_run).json))
        }
        Command::Purge { dry_run: true } => {
            let counted = shown("counting", engine.stats()).await?;
            Ok(output::deleted(counted.expired(), true))
        }
        Command::Purge { dry_run: false } => {
            let purged = if runs::have_tables(&engines.steps).await? {
                shown("purging", engines.steps.purge_expired()).await?
            } else {
                shown("purging", engine.purge_expired()).await?
            };
            Ok(output::deleted(purged, false))
        }
        Command::Forget { identity, consent } => forget(engines, identity, consent).await,
        Command::Runs { limit } => runs::list(&engines.steps, *limit).await,
        Command::Run { identity } => runs::show(engines, identity).await,
        Command::Resolve {
            identity,
            step,
            resolution,
            consent,
        } => runs::resolve(engines, identity, step, resolution, consent).await,
        Command::Completions { .. } => Ok(Report::default()),
    }
}

async fn show<C: Setup>(
    engines: &Engines<C>,
    identity: &IdentityOf,
    body: Option<&OsStr>,
) -> Result<Report, Failure> {
    let (scope, key) = (identity.scope.get()?, identity.key.get()?);
    let operation = identity.operation();
    let Some(found) = engines.records.find(scope, &operation, &key).await? else {
        if let Some(run) = runs::of_unrecorded(&engines.steps, scope, &operation, &key).await {
            return Err(runs::unfinished(&run));
        }
        return Err(missing(&engines.records, scope).await?);
    };
    let Some(path) = body else {
        return Ok(output::record(&operation, scope, &key, &found));
    };
    let Some(response) = found.record.response() else {
        let message = "the record has no response, as a retry runs again";
        return Err(Failure::new(Kind::NotFound, message));
    };
    let written = if path == "-" {
        std::io::stdout().write_all(&response.body)
    } else {
        std::fs::write(path, &response.body)
    };
    let failed = |error: std::io::Error| Failure::usage(&format!("{}: {error}", path.display()));
    written.map_err(failed)?;
    Ok(if path == "-" {
        Report::default()
    } else {
        output::record(&operation, scope, &key, &found)
    })
}

async fn find<C: Setup>(
    engines: &Engines<C>,
    scope: Option<&str>,
    key: &IdempotencyKey,
) -> Result<Report, Failure> {
    let engine = &engines.records;
    let counted = shown("searching", engine.stats_of(scope)).await?;
    let unfinished = runs::operations(&engines.steps).await;
    let mut names = operations(&counted);
    names.extend(unfinished.iter().flatten().map(Operation::as_str));
    let mut entries: Vec<Entry> = Vec::new();
    let mut runs = Vec::new();
    for name in names {
        let operation = Operation::named(name);
        if unfinished.is_some() {
            runs.extend(engines.steps.find_run(scope, &operation, key).await?);
        }
        match engine.find(scope, &operation, key).await {
            Ok(None) => {}
            Ok(Some(found)) => entries.push((operation, Ok(found))),
            Err(StoreError::Unreadable(error)) => entries.push((operation, Err(error))),
            Err(error) => return Err(error.into()),
        }
    }
    if entries.is_empty() && runs.is_empty() {
        return Err(missing(engine, scope).await?);
    }
    Ok(output::entries(&entries, &runs))
}

fn operations(stats: &Stats) -> BTreeSet<&str> {
    let tallies = stats.tallies.iter();
    tallies.map(|tally| tally.operation.as_str()).collect()
}

/// The answer for a key without a record. It names the operations that the scope has records of, as a wrong
/// operation or scope is the usual reason.
async fn missing<S: Store>(engine: &Engine<S>, scope: Option<&str>) -> Result<Failure, Failure> {
    let counted = engine.stats_of(scope).await?;
    let operations: Vec<&str> = operations(&counted).into_iter().collect();
    let others = if operations.is_empty() {
        "this scope has no records at all".to_owned()
    } else {
        format!("this scope has records of: {}", operations.join(", "))
    };
    let message = format!(
        "no record of this key: its request did not come, did not end yet, or is expired and purged; {others}"
    );
    Ok(Failure::new(Kind::NotFound, message))
}

async fn erase<C: Setup>(
    engines: &Engines<C>,
    scope: &Scope,
    consent: &Consent,
) -> Result<Report, Failure> {
    let scope = scope.get()?;
    if consent.get()? {
        let erased = if runs::have_tables(&engines.steps).await? {
            shown("erasing", engines.steps.erase(scope)).await?
        } else {
            shown("erasing", engines.records.erase(scope)).await?
        };
        return Ok(output::deleted(erased, false));
    }
    let counted = shown("counting", engines.records.stats_of(scope)).await?;
    Ok(output::deleted(counted.records(), true))
}

async fn forget<C: Setup>(
    engines: &Engines<C>,
    identity: &IdentityOf,
    consent: &Consent,
) -> Result<Report, Failure> {
    let (scope, key) = (identity.scope.get()?, identity.key.get()?);
    let (operation, engine) = (identity.operation(), &engines.records);
    if consent.get()? {
        // The record first: on SQLite the look at the run waits for an attempt, whose record stays.
        let mut forgotten = engine.forget(scope, &operation, &key).await?;
        if forgotten == Forgotten::Missing && runs::have_tables(&engines.steps).await? {
            forgotten = engines.steps.forget(scope, &operation, &key).await?;
        }
        return match forgotten {
            Forgotten::Deleted => Ok(output::deleted(1, false)),
            Forgotten::Missing => Err(missing(engine, scope).await?),
            Forgotten::InFlight => Err(Failure::new(
                Kind::Busy,
                "an attempt with this key is in flight, so nothing is deleted; look at its record, then try again",
            )),
        };
    }
    let mut found = match engine.find(scope, &operation, &key).await {
        Ok(found) => {
            found.map(|found| format!("1 record would be deleted: {}", output::summary(&found)))
        }
        Err(StoreError::Unreadable(error)) => Some(format!("1 record would be deleted: {error}")),
        Err(error) => return Err(error.into()),
    };
    if found.is_none() {
        let run = runs::of_unrecorded(&engines.steps, scope, &operation, &key).await;
        found = run.map(|run| format!("1 run would be deleted: {}", output::summary_of_run(&run)));
    }
    let Some(found) = found else {
        return Err(missing(engine, scope).await?);
    };
    let mut report = output::deleted(1, true);
    report.text = found + "\n";
    Ok(report)
}
