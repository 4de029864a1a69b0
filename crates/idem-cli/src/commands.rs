//! The commands, on an engine of any database.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write as _;

use idem_core::{Engine, Forgotten, IdempotencyKey, Operation, Stats, StoreError};
use serde_json::json;

use crate::arguments::{Arguments, Command, Consent, IdentityOf, Scope, checked};
use crate::database::Setup;
use crate::failure::{Failure, Kind};
use crate::output::{self, Entry, Report};
use crate::progress::shown;

pub(crate) async fn run<S: Setup>(
    arguments: &Arguments,
    database: &str,
    engine: &Engine<S>,
) -> Result<Report, Failure> {
    match &arguments.command {
        Command::Check => {
            engine.store().check().await?;
            let text = "no fault found: the tables fit this release, and this role can use them\n";
            Ok(Report::new(text, json!({ "database": database })))
        }
        Command::Migrate => {
            shown("migrating", engine.store().migrate()).await?;
            let text = "the tables are up to date, and the check found no fault\n";
            Ok(Report::new(text, json!({ "database": database })))
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
        Command::Show { identity, body } => show(engine, identity, body.as_deref()).await,
        Command::Find { scope, key } => {
            let (scope, key) = (scope.get()?, key.get()?);
            find(engine, scope, &key).await
        }
        Command::Erase { scope, consent } => erase(engine, scope, consent).await,
        Command::Purge { dry_run: true } => {
            let counted = shown("counting", engine.stats()).await?;
            Ok(output::deleted(counted.expired(), true))
        }
        Command::Purge { dry_run: false } => {
            let purged = shown("purging", engine.purge_expired()).await?;
            Ok(output::deleted(purged, false))
        }
        Command::Forget { identity, consent } => forget(engine, identity, consent).await,
        Command::Completions { .. } => Ok(Report::default()),
    }
}

async fn show<S: Setup>(
    engine: &Engine<S>,
    identity: &IdentityOf,
    body: Option<&OsStr>,
) -> Result<Report, Failure> {
    let (scope, key) = (identity.scope.get()?, identity.key.get()?);
    let operation = identity.operation();
    let Some(found) = engine.find(scope, &operation, &key).await? else {
        return Err(missing(engine, scope).await?);
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

async fn find<S: Setup>(
    engine: &Engine<S>,
    scope: Option<&str>,
    key: &IdempotencyKey,
) -> Result<Report, Failure> {
    let counted = shown("searching", engine.stats_of(scope)).await?;
    let mut entries: Vec<Entry> = Vec::new();
    for name in operations(&counted) {
        let operation = Operation::named(name);
        match engine.find(scope, &operation, key).await {
            Ok(None) => {}
            Ok(Some(found)) => entries.push((operation, Ok(found))),
            Err(StoreError::Unreadable(error)) => entries.push((operation, Err(error))),
            Err(error) => return Err(error.into()),
        }
    }
    if entries.is_empty() {
        return Err(missing(engine, scope).await?);
    }
    Ok(output::entries(&entries))
}

fn operations(stats: &Stats) -> BTreeSet<&str> {
    let tallies = stats.tallies.iter();
    tallies.map(|tally| tally.operation.as_str()).collect()
}

/// The answer for a key without a record. It names the operations that the scope has records of, as a wrong
/// operation or scope is the usual reason.
async fn missing<S: Setup>(engine: &Engine<S>, scope: Option<&str>) -> Result<Failure, Failure> {
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

async fn erase<S: Setup>(
    engine: &Engine<S>,
    scope: &Scope,
    consent: &Consent,
) -> Result<Report, Failure> {
    let scope = scope.get()?;
    if consent.get()? {
        let erased = shown("erasing", engine.erase(scope)).await?;
        return Ok(output::deleted(erased, false));
    }
    let counted = shown("counting", engine.stats_of(scope)).await?;
    Ok(output::deleted(counted.records(), true))
}

async fn forget<S: Setup>(
    engine: &Engine<S>,
    identity: &IdentityOf,
    consent: &Consent,
) -> Result<Report, Failure> {
    let (scope, key) = (identity.scope.get()?, identity.key.get()?);
    let operation = identity.operation();
    if consent.get()? {
        return match engine.forget(scope, &operation, &key).await? {
            Forgotten::Deleted => Ok(output::deleted(1, false)),
            Forgotten::Missing => Err(missing(engine, scope).await?),
            Forgotten::InFlight => Err(Failure::new(
                Kind::Busy,
                "an attempt with this key is in flight, so nothing is deleted; look at its record, then try again",
            )),
        };
    }
    let found = match engine.find(scope, &operation, &key).await {
        Ok(None) => return Err(missing(engine, scope).await?),
        Ok(Some(found)) => output::summary(&found),
        Err(StoreError::Unreadable(error)) => error.to_string(),
        Err(error) => return Err(error.into()),
    };
    let mut report = output::deleted(1, true);
    report.text = format!("1 record would be deleted: {found}\n");
    Ok(report)
}
