//! What a command found, for people and for programs.

#![allow(
    clippy::format_push_string,
    reason = "an allocation more does not matter in a report for people"
)]

use std::process::ExitCode;
use std::time::Duration;

use idem_core::store::{Recorded, Unreadable};
use idem_core::{Found, IdempotencyKey, Operation, State, Stats, Timestamp, UnfinishedRun};
use serde_json::{Value, json};

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::text::{bytes, duration, harmless, hex, rfc3339, seconds, table};

mod runs;

pub(crate) use self::runs::{resolved, run, runs, summary_of_run};

/// The most bytes of a body that are shown.
const SHOWN: usize = 4096;

/// The bytes of a body that is not text that are shown.
const HEAD: usize = 32;

/// What a command has to say after it did its work.
#[derive(Debug, Default)]
pub(crate) struct Report {
    /// For people; its last line ends.
    pub(crate) text: String,
    pub(crate) json: Value,
}

impl Report {
    pub(crate) fn new(text: impl Into<String>, json: Value) -> Self {
        let text = text.into();
        Self { text, json }
    }
}

/// Prints what was done, or why it was not.
pub(crate) fn print(arguments: &Arguments, done: &Result<Report, Failure>) -> ExitCode {
    let code = done.as_ref().err().map_or(0, |failure| failure.kind as u8);
    if arguments.json {
        let error = done.as_ref().err().map(|failure| {
            let kind = failure.kind.name();
            json!({ "kind": kind, "message": failure.message })
        });
        let object = json!({
            "command": arguments.command.name(),
            "exit_code": code,
            "error": error,
            "result": done.as_ref().ok().map(|report| &report.json),
        });
        write(&format!("{object}\n"));
    } else {
        match done {
            Ok(report) => write(&report.text),
            Err(failure) => eprintln!("idem: {}", harmless(&failure.message)),
        }
    }
    code.into()
}

/// A reader that has seen enough, such as `head`, is not an error.
fn write(text: &str) {
    use std::io::Write as _;
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// A record, if it can be read, and its operation.
pub(crate) type Entry = (Operation, Result<Found, Unreadable>);

pub(crate) fn stats(stats: &Stats) -> Report {
    let mut tallies: Vec<_> = stats.tallies.iter().collect();
    tallies.sort_by_key(|tally| (tally.operation.as_str(), tally.state.map(State::code)));
    let title = [
        "operation",
        "state",
        "records",
        "expired",
        "attempts",
        "responses",
        "oldest",
        "newest",
    ];
    let mut rows = vec![title.map(str::to_owned).to_vec()];
    rows.extend(tallies.iter().map(|tally| {
        vec![
            harmless(tally.operation.as_str()),
            state(tally.state).to_owned(),
            tally.records.to_string(),
            tally.expired.to_string(),
            tally.attempts.to_string(),
            bytes(tally.response_bytes),
            seconds(tally.oldest_settled),
            seconds(tally.newest_settled),
        ]
    }));
    let oldest = tallies
        .iter()
        .filter_map(|tally| tally.oldest_expired)
        .min();
    let size = tallies.iter().map(|tally| tally.response_bytes).sum();
    let (records, expired) = (stats.records(), stats.expired());
    let mut text = if tallies.is_empty() {
        String::new()
    } else {
        table(&rows, 2..6) + "\n"
    };
    text += &format!("{}, {} of responses", count(records), bytes(size));
    if let Some(oldest) = oldest {
        let age = duration(oldest.until(stats.now));
        text += &format!("; {expired} expired and not purged, the oldest for {age}");
    }
    text += "\n";
    let operations = tallies.iter().map(|tally| {
        json!({
            "operation": tally.operation.as_str(),
            "state": state(tally.state),
            "records": tally.records,
            "expired": tally.expired,
            "attempts": tally.attempts,
            "response_bytes": tally.response_bytes,
            "oldest_settled": rfc3339(tally.oldest_settled),
            "newest_settled": rfc3339(tally.newest_settled),
            "oldest_expired": tally.oldest_expired.map(rfc3339),
        })
    });
    let json = json!({
        "now": rfc3339(stats.now),
        "records": records,
        "expired": expired,
        "response_bytes": size,
        "operations": operations.collect::<Vec<_>>(),
    });
    Report::new(text, json)
}

pub(crate) fn count(records: u64) -> String {
    match records {
        1 => "1 record".to_owned(),
        records => format!("{records} records"),
    }
}

/// What was deleted, or would be.
pub(crate) fn deleted(records: u64, is_dry_run: bool) -> Report {
    let says = if is_dry_run {
        "would be deleted"
    } else {
        "deleted"
    };
    Report::new(
        format!("{} {says}\n", count(records)),
        json!({ "dry_run": is_dry_run, "records": records }),
    )
}

/// Everything about one record.
pub(crate) fn record(
    operation: &Operation,
    scope: Option<&str>,
    key: &IdempotencyKey,
    found: &Found,
) -> Report {
    let record = &found.record;
    let (settled, expires) = (record.settled_at, record.expires_at);
    let age = duration(settled.until(found.now));
    let expiry = expiry(expires, found.now);
    let attempts = match record.attempts {
        1 => "1".to_owned(),
        attempts => format!("{attempts} (this is the outcome of the last)"),
    };
    let mut text = facts([
        ("operation", harmless(operation.as_str())),
        ("scope", owner(scope)),
        ("key", key.to_string()),
        ("state", meaning(record.state).to_owned()),
        ("status", record.status.to_string()),
        ("attempts", attempts),
        ("settled", format!("{} ({age} ago)", rfc3339(settled))),
        ("expires", format!("{} ({expiry})", rfc3339(expires))),
    ]);
    if let Some(response) = record.response() {
        text += "\n";
        for (name, value) in &response.headers {
            let value = String::from_utf8_lossy(value.as_bytes());
            text += &format!("{name}: {}\n", harmless(&value));
        }
        text += &format!("\n{}", body(&response.body));
    }
    Report::new(text, json!({ "record": json_of(operation, found, true) }))
}

fn expiry(expires: Timestamp, now: Timestamp) -> String {
    if expires > now {
        format!("in {}", duration(now.until(expires)))
    } else {
        let since = duration(expires.until(now));
        format!("{since} ago: the key is as good as new")
    }
}

fn owner(scope: Option<&str>) -> String {
    scope.map_or_else(|| "unscoped".to_owned(), harmless)
}

/// Names and values, one in each line.
fn facts<const N: usize>(lines: [(&str, String); N]) -> String {
    let rows = lines.map(|(name, value)| vec![name.to_owned(), value]);
    table(&rows, 0..0)
}

/// A body as people can read it.
fn body(body: &[u8]) -> String {
    let Ok(text) = std::str::from_utf8(body) else {
        let head = hex(&body[..body.len().min(HEAD)]);
        let more = if body.len() > HEAD { "…" } else { "" };
        let size = bytes(body.len() as u64);
        return format!("({size} that are not text: {head}{more})\n");
    };
    let end = text.floor_char_boundary(SHOWN);
    let mut shown = harmless(&text[..end]);
    if !shown.is_empty() && !shown.ends_with('\n') {
        shown.push('\n');
    }
    if end < text.len() {
        let more = bytes((text.len() - end) as u64);
        shown += &format!("({more} more; `--body FILE` writes all)\n");
    }
    shown
}

/// The records and runs of one key.
pub(crate) fn entries(entries: &[Entry], unfinished: &[UnfinishedRun]) -> Report {
    let title = [
        "operation",
        "state",
        "status",
        "attempts",
        "settled",
        "expires",
    ];
    let mut rows = vec![title.map(str::to_owned).to_vec()];
    rows.extend(entries.iter().map(|(operation, found)| {
        let operation = harmless(operation.as_str());
        let Ok(Found { record, .. }) = found else {
            let mut row = vec![operation, "unreadable".to_owned()];
            row.resize(title.len(), String::new());
            return row;
        };
        vec![
            operation,
            state(Some(record.state)).to_owned(),
            record.status.as_u16().to_string(),
            record.attempts.to_string(),
            seconds(record.settled_at),
            seconds(record.expires_at),
        ]
    }));
    let records = entries.iter().map(|(operation, found)| match found {
        Ok(found) => json_of(operation, found, false),
        Err(error) => json!({
            "operation": operation.as_str(),
            "state": "unreadable",
            "unreadable": error.to_string(),
        }),
    });
    let records: Vec<_> = records.collect();
    let runs = runs::table_of(unfinished);
    let text = match (entries, unfinished) {
        ([], _) => runs,
        (_, []) => table(&rows, 2..4),
        _ => table(&rows, 2..4) + "\n" + &runs,
    };
    let json = json!({ "records": records, "runs": runs::json_of(unfinished) });
    Report::new(text, json)
}

fn json_of(operation: &Operation, found: &Found, with_response: bool) -> Value {
    let record = &found.record;
    let mut json = json!({
        "operation": operation.as_str(),
        "state": state(Some(record.state)),
        "status": record.status.as_u16(),
        "attempts": record.attempts,
        "settled_at": rfc3339(record.settled_at),
        "expires_at": rfc3339(record.expires_at),
        "now": rfc3339(found.now),
        "expired": record.expires_at <= found.now,
    });
    if with_response {
        json["response"] = record.response().map_or(Value::Null, json_of_response);
    }
    json
}

fn json_of_response(response: &Recorded) -> Value {
    let headers = response
        .headers
        .iter()
        .map(|(name, value)| json!([name.as_str(), String::from_utf8_lossy(value.as_bytes())]));
    let text = std::str::from_utf8(&response.body).ok();
    let head = &response.body[..response.body.len().min(HEAD)];
    json!({
        "headers": headers.collect::<Vec<_>>(),
        "body_bytes": response.body.len(),
        "body": text,
        "body_head_hex": text.is_none().then(|| hex(head)),
    })
}

fn state(state: Option<State>) -> &'static str {
    match state {
        Some(State::Succeeded) => "succeeded",
        Some(State::FailedFinal) => "failed_final",
        Some(State::FailedRetriable) => "failed_retriable",
        Some(State::Ended) => "ended",
        _ => "unknown",
    }
}

fn meaning(state: State) -> &'static str {
    match state {
        State::Succeeded => {
            "succeeded: the writes are kept, a retry is answered with this response"
        }
        State::FailedFinal => {
            "failed, final: the writes are undone, a retry is answered with this response"
        }
        State::FailedRetriable => "failed, retriable: a retry runs the handler again",
        State::Ended => "ended by the handler itself: the writes may stand, a retry does not run",
        _ => "unknown to this release",
    }
}

/// The age of a record that is about to be deleted, for the answer of a dry run.
pub(crate) fn summary(found: &Found) -> String {
    let Found { record, now } = found;
    let age: Duration = record.settled_at.until(*now);
    format!(
        "{} with {} {} ago, attempt {}",
        state(Some(record.state)),
        record.status.as_u16(),
        duration(age),
        record.attempts
    )
}
