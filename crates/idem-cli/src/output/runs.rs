//! Unfinished runs, for people and for programs.

use idem_core::{IdempotencyKey, RecordedStep, UnfinishedRun};
use serde_json::{Value, json};

use super::{Report, expiry, facts, owner};
use crate::text::{duration, harmless, rfc3339, seconds, table};

/// What a run waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Leased,
    Expired,
    Uncertain,
    Waiting,
}

impl State {
    fn of(run: &UnfinishedRun) -> Self {
        if run.is_leased() {
            Self::Leased
        } else if run.expires_at <= run.now {
            Self::Expired
        } else if run.steps.iter().any(|step| step.is_uncertain) {
            Self::Uncertain
        } else {
            Self::Waiting
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Leased => "leased",
            Self::Expired => "expired",
            Self::Uncertain => "uncertain",
            Self::Waiting => "waiting",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::Leased => "leased: an attempt may be running",
            Self::Expired => "expired: the next request begins anew",
            Self::Uncertain => "uncertain: a call_once may have happened; a retry asks about it",
            Self::Waiting => "waiting for a retry, which resumes after the recorded steps",
        }
    }
}

/// Unfinished runs, of which this many were asked for.
pub(crate) fn runs(runs: &[UnfinishedRun], limit: u32) -> Report {
    let text = match runs.len() {
        0 => "no unfinished runs\n".to_owned(),
        count if count as u64 >= u64::from(limit) => {
            format!(
                "{}\nthere may be more: `--limit` is {limit}\n",
                table_of(runs)
            )
        }
        _ => table_of(runs),
    };
    Report::new(text, json!({ "runs": json_of(runs) }))
}

pub(super) fn table_of(runs: &[UnfinishedRun]) -> String {
    let title = [
        "operation",
        "state",
        "attempts",
        "steps",
        "claimed",
        "expires",
        "uncertain",
    ];
    let mut rows = vec![title.map(str::to_owned).to_vec()];
    rows.extend(runs.iter().map(|run| {
        let uncertain = run.steps.iter().filter(|step| step.is_uncertain);
        let uncertain: Vec<_> = uncertain.map(|step| harmless(&step.name)).collect();
        vec![
            harmless(run.operation.as_str()),
            State::of(run).name().to_owned(),
            run.attempts.to_string(),
            run.steps.len().to_string(),
            seconds(run.claimed_at),
            seconds(run.expires_at),
            uncertain.join(", "),
        ]
    }));
    table(&rows, 2..4)
}

/// Everything about one run.
pub(crate) fn run(run: &UnfinishedRun, scope: Option<&str>, key: &IdempotencyKey) -> Report {
    let lease = if run.is_leased() {
        format!("for {} more", duration(run.now.until(run.leased_until)))
    } else {
        let since = duration(run.leased_until.until(run.now));
        format!("over for {since}")
    };
    let claimed = duration(run.claimed_at.until(run.now));
    let expiry = expiry(run.expires_at, run.now);
    let mut text = facts([
        ("operation", harmless(run.operation.as_str())),
        ("scope", owner(scope)),
        ("key", key.to_string()),
        ("state", State::of(run).meaning().to_owned()),
        ("attempts", run.attempts.to_string()),
        (
            "claimed",
            format!("{} ({claimed} ago)", rfc3339(run.claimed_at)),
        ),
        (
            "leased until",
            format!("{} ({lease})", rfc3339(run.leased_until)),
        ),
        ("expires", format!("{} ({expiry})", rfc3339(run.expires_at))),
    ]);
    if !run.steps.is_empty() {
        let title = ["step", "kind", "result", "recorded"];
        let mut rows = vec![title.map(str::to_owned).to_vec()];
        rows.extend(run.steps.iter().map(|step| {
            vec![
                harmless(&step.name),
                step.kind.to_owned(),
                result(step).to_owned(),
                rfc3339(step.recorded_at),
            ]
        }));
        text = text + "\n" + &table(&rows, 0..0);
    }
    Report::new(text, json!({ "run": json_of_run(run) }))
}

fn result(step: &RecordedStep) -> &'static str {
    if step.is_uncertain {
        "uncertain"
    } else {
        "recorded"
    }
}

pub(super) fn json_of(runs: &[UnfinishedRun]) -> Vec<Value> {
    runs.iter().map(json_of_run).collect()
}

fn json_of_run(run: &UnfinishedRun) -> Value {
    let steps = run.steps.iter().map(|step| {
        json!({
            "name": step.name,
            "kind": step.kind,
            "uncertain": step.is_uncertain,
            "recorded_at": rfc3339(step.recorded_at),
        })
    });
    json!({
        "operation": run.operation.as_str(),
        "state": State::of(run).name(),
        "attempts": run.attempts,
        "claimed_at": rfc3339(run.claimed_at),
        "leased_until": rfc3339(run.leased_until),
        "expires_at": rfc3339(run.expires_at),
        "now": rfc3339(run.now),
        "steps": steps.collect::<Vec<_>>(),
    })
}

/// The doubt that is ended, or would be.
pub(crate) fn resolved(step: &str, is_found: bool, is_dry_run: bool) -> Report {
    let says = if is_dry_run {
        "would be resolved"
    } else {
        "is resolved"
    };
    let next = if is_found {
        "the next attempt takes this result"
    } else {
        "the next attempt makes the call"
    };
    Report::new(
        format!("the step `{}` {says}: {next}\n", harmless(step)),
        json!({ "dry_run": is_dry_run, "step": step, "found": is_found }),
    )
}

/// A run in half a line.
pub(crate) fn summary_of_run(run: &UnfinishedRun) -> String {
    let claimed = duration(run.claimed_at.until(run.now));
    let steps = match run.steps.len() {
        1 => "1 recorded step".to_owned(),
        steps => format!("{steps} recorded steps"),
    };
    format!(
        "{}, attempt {} claimed {claimed} ago, {steps}",
        State::of(run).name(),
        run.attempts
    )
}
