//! What can be said on the command line.

use std::ffi::OsString;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use clap_complete::Shell;
use idem_core::{IdempotencyKey, Operation};
use serde_json::value::RawValue;

use crate::failure::Failure;

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  there is no such record or run
  2  wrong usage; also an `erase`, `forget` or `resolve` without `--yes`
  3  the database can't be reached, or does not answer
  4  something is in the way for a moment: an attempt in flight, a lock; try again
  5  a problem is found: tables that are missing or of another release, missing rights,
     a record or a step that can't be read";

/// Looks at the records and runs of idem, and cleans them up.
///
/// A record is what idem remembers of a request with an idempotency key. A run is what it remembers of a
/// request with steps until that has a record. All times are the database's.
#[derive(Debug, Parser)]
#[command(name = "idem", version, after_help = EXIT_CODES, after_long_help = EXIT_CODES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) place: Place,
    /// Prints one JSON object.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Where the records are.
#[derive(Debug, Args)]
#[command(next_help_heading = "Place of the records")]
pub(crate) struct Place {
    /// The application's database: `postgres://…`, `mysql://…`, `mariadb://…`, `sqlite:FILE`, `redis://…` or
    /// `rediss://…`.
    ///
    /// Other users of the machine can see a command line, so a URL with a password is better in the
    /// environment. `DATABASE_URL` is read, too, if `IDEM_DATABASE_URL` is not set.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        env = "IDEM_DATABASE_URL",
        hide_env_values = true
    )]
    database_url: Option<String>,
    /// The schema of `PostgresStore::try_with_schema`.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) schema: Option<String>,
    /// The prefix of `try_with_table_prefix`, on MariaDB, MySQL and SQLite.
    #[arg(long, global = true, value_name = "PREFIX")]
    pub(crate) table_prefix: Option<String>,
    /// The prefix of `RedisStore::with_prefix`.
    #[arg(long, global = true, value_name = "PREFIX")]
    pub(crate) key_prefix: Option<String>,
    /// The number of `Durability::Replicas`, on Redis: what is changed counts only if so many replicas have it.
    #[arg(long, global = true, value_name = "NUMBER")]
    pub(crate) replicas: Option<u16>,
    /// The namespace of `Config::with_namespace`.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// How long to wait for a connection.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 10)]
    connect_timeout: u16,
}

impl Place {
    pub(crate) fn url(&self) -> Result<String, Failure> {
        let given = self.database_url.clone();
        let others = || std::env::var("DATABASE_URL").ok();
        let url = given.filter(|url| !url.is_empty()).or_else(others);
        url.filter(|url| !url.is_empty()).ok_or_else(|| {
            Failure::usage("which database? Set IDEM_DATABASE_URL or --database-url")
        })
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_secs(self.connect_timeout.into())
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Tries what a request needs, and rolls it back: tables, rights, triggers.
    Check,
    /// Creates the tables or brings them up to date, then checks them.
    ///
    /// The tables of runs and steps are brought up to date if they exist.
    Migrate {
        /// Creates the tables of runs and steps, too: for services that have handlers with `Steps`.
        #[arg(long)]
        steps: bool,
    },
    /// Counts records by operation and state. Reads the whole table, or one scope.
    Stats {
        /// Only the records of this owner of keys.
        #[arg(long)]
        scope: Option<String>,
        /// Only the records of endpoints that are `unscoped`.
        #[arg(long, conflicts_with = "scope")]
        unscoped: bool,
    },
    /// Shows the record of a key: did the request run, when, how often, with which answer?
    Show {
        #[command(flatten)]
        identity: IdentityOf,
        /// Writes the recorded body to this file; `-` writes it, and nothing else, to the output.
        #[arg(long, value_name = "FILE", conflicts_with = "json")]
        body: Option<OsString>,
    },
    /// Finds the records and unfinished runs of a key for which the operation is not known.
    ///
    /// Tries the key with each operation that has records in the scope, and with those of the oldest
    /// unfinished runs.
    Find {
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        key: Key,
    },
    /// Deletes all records and runs of a scope. Their requests can run again.
    Erase {
        #[command(flatten)]
        scope: Scope,
        #[command(flatten)]
        consent: Consent,
    },
    /// Deletes expired records and runs, which answer no request any more. Redis does it by itself.
    Purge {
        /// Counts the records that would be deleted, and deletes nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Deletes the record or the run of one key. The next request with the key runs again.
    Forget {
        #[command(flatten)]
        identity: IdentityOf,
        #[command(flatten)]
        consent: Consent,
    },
    /// Lists unfinished runs: requests with steps that have no record yet. The oldest claim is first.
    Runs {
        /// The most runs to list.
        #[arg(long, value_name = "RUNS", default_value_t = 50)]
        limit: u32,
    },
    /// Shows the unfinished run of a key: does it run, which steps are recorded, which one is uncertain?
    Run {
        #[command(flatten)]
        identity: IdentityOf,
    },
    /// Ends the doubt about a `call_once` that may have happened.
    ///
    /// Find out at the other service first: the answer is not checked.
    Resolve {
        #[command(flatten)]
        identity: IdentityOf,
        /// The name of the step.
        #[arg(long)]
        step: String,
        #[command(flatten)]
        resolution: ResolutionOf,
        #[command(flatten)]
        consent: Consent,
    },
    /// Writes a script with completions for a shell.
    Completions { shell: Shell },
}

impl Command {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Migrate { .. } => "migrate",
            Self::Stats { .. } => "stats",
            Self::Show { .. } => "show",
            Self::Find { .. } => "find",
            Self::Erase { .. } => "erase",
            Self::Purge { .. } => "purge",
            Self::Forget { .. } => "forget",
            Self::Runs { .. } => "runs",
            Self::Run { .. } => "run",
            Self::Resolve { .. } => "resolve",
            Self::Completions { .. } => "completions",
        }
    }
}

/// Whose keys.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Scope {
    /// The owner of the keys, as the endpoint's `scope` gives it: a tenant, a user.
    #[arg(long)]
    scope: Option<String>,
    /// The keys of endpoints that are `unscoped`.
    #[arg(long)]
    unscoped: bool,
}

impl Scope {
    pub(crate) fn get(&self) -> Result<Option<&str>, Failure> {
        checked(self.scope.as_deref())
    }
}

/// A scope that is not empty; `None` for the unscoped endpoints.
pub(crate) fn checked(scope: Option<&str>) -> Result<Option<&str>, Failure> {
    match scope {
        Some("") => Err(Failure::usage(
            "the scope is empty; `--unscoped` is without a scope",
        )),
        scope => Ok(scope),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Key {
    /// The idempotency key, as the client sent it.
    #[arg(long)]
    key: String,
}

impl Key {
    pub(crate) fn get(&self) -> Result<IdempotencyKey, Failure> {
        let key = IdempotencyKey::parse(self.key.as_bytes());
        key.map_err(|error| Failure::usage(&format!("not an idempotency key: {error}")))
    }
}

/// What a record or a run is stored under.
#[derive(Debug, Args)]
pub(crate) struct IdentityOf {
    #[command(flatten)]
    pub(crate) scope: Scope,
    /// The endpoint: `POST /payments/{id}/refunds`, or the name in `operation = "…"`.
    #[arg(long)]
    operation: String,
    #[command(flatten)]
    pub(crate) key: Key,
}

impl IdentityOf {
    /// The names of a route's parameters don't matter.
    pub(crate) fn operation(&self) -> Operation {
        match self.operation.split_once(' ') {
            Some((method, route)) if route.starts_with('/') => Operation::of_route(method, route),
            _ => Operation::named(&self.operation),
        }
    }
}

/// What was found out about a `call_once`.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ResolutionOf {
    /// It has happened, with this result: JSON, as serde writes what the step returns. A result of
    /// another form stops the request for good.
    #[arg(long, value_name = "JSON")]
    found: Option<String>,
    /// It has not happened, and can't happen any more: the next attempt makes the call.
    #[arg(long)]
    absent: bool,
}

impl ResolutionOf {
    /// The result, as it is written: a number can be longer than any of Rust's. `None` for a call that
    /// has not happened.
    pub(crate) fn get(&self) -> Result<Option<&RawValue>, Failure> {
        let found = self.found.as_deref().map(serde_json::from_str).transpose();
        found.map_err(|error| Failure::usage(&format!("the result is not JSON: {error}")))
    }
}

/// For what can't be undone.
#[derive(Debug, Args)]
pub(crate) struct Consent {
    /// Shows what would be changed, and changes nothing.
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
    /// Changes it. Without it nothing is changed.
    #[arg(long)]
    yes: bool,
}

impl Consent {
    /// Whether to change anything.
    pub(crate) fn get(&self) -> Result<bool, Failure> {
        if self.dry_run || self.yes {
            return Ok(self.yes);
        }
        let question =
            "this can't be undone; `--dry-run` shows what it changes, `--yes` changes it";
        Err(Failure::usage(question))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
