//! `cargo xtask ci`.

use std::ffi::OsString;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{api, cargo, packages, rules, test};
use xtask::process;
use xtask::server::TOOLS;

pub(crate) fn run() -> Result<ExitCode> {
    // Some of them build what is linted before the tests.
    for tool in TOOLS {
        tool.find_or_install()?;
    }
    let mut outcomes = Vec::new();
    let mut error = None;
    for step in steps() {
        if outcomes.iter().any(Outcome::is_failure) {
            let earlier = "an earlier step failed".to_owned();
            outcomes.push(Outcome::new(step.name, Verdict::NotRun(earlier), None));
            continue;
        }
        eprintln!("\n=== {}", step.name);
        let start = Instant::now();
        let verdict = step.run().unwrap_or_else(|reason| {
            error = Some(reason);
            Verdict::Failed
        });
        let outcome = Outcome::new(step.name, verdict, Some(start.elapsed()));
        eprintln!("=== {}", outcome.line());
        outcomes.push(outcome);
    }
    eprintln!("\n=== summary");
    for outcome in &outcomes {
        eprintln!("{}", outcome.line());
    }
    match error {
        Some(error) => Err(error),
        None if outcomes.iter().any(Outcome::is_failure) => Ok(ExitCode::FAILURE),
        None => Ok(ExitCode::SUCCESS),
    }
}

/// How a step ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    /// With the reason.
    NotRun(String),
}

impl Verdict {
    pub(crate) fn of(passed: bool) -> Self {
        if passed { Self::Passed } else { Self::Failed }
    }
}

/// The crates that users build, each linted alone. In a build of the workspace, a crate can use a dependency's feature
/// that only another crate has asked for.
const ALONE: &[&[&str]] = &[
    &["-p", "idem-core"],
    &["-p", "idem-core", "--features", "sqlite"],
    &["-p", "idem-core", "--features", "postgres"],
    &["-p", "idem-core", "--features", "mysql"],
    &["-p", "idem-core", "--features", "metrics"],
    &["-p", "idem-core", "--features", "utoipa"],
    &["-p", "idem-macros"],
    &["-p", "idem-axum"],
    &["-p", "idem-axum", "--features", "sqlite"],
    &["-p", "idem-axum", "--features", "postgres"],
    &["-p", "idem-axum", "--features", "mysql"],
    &["-p", "idem-actix"],
    &["-p", "idem-actix", "--features", "sqlite"],
    &["-p", "idem-actix", "--features", "postgres"],
    &["-p", "idem-actix", "--features", "mysql"],
    &["-p", "idem-sea-orm"],
    &["-p", "idem-sea-orm", "--features", "sqlite"],
    &["-p", "idem-sea-orm", "--features", "postgres,stream"],
    &["-p", "idem-sea-orm", "--features", "mysql"],
    &["-p", "idem-redis"],
    &["-p", "idem-redis", "--features", "cluster"],
    &["-p", "idem-redis", "--features", "tls"],
    &["-p", "idem-consume"],
    &["-p", "idem-client"],
    &["-p", "idem-outbox"],
    &["-p", "idem-outbox", "--features", "sqlite"],
    &["-p", "idem-outbox", "--features", "postgres,metrics"],
    &["-p", "idem-outbox", "--features", "mysql"],
    &["-p", "idem-cli"],
    &[
        "-p",
        "idem-cli",
        "--no-default-features",
        "--features",
        "sqlite",
    ],
    &[
        "-p",
        "idem-cli",
        "--no-default-features",
        "--features",
        "redis",
    ],
    &["-p", "payments"],
    &["-p", "payments-auth"],
    &["-p", "payments-actix"],
    &["-p", "payments-postgres"],
    &["-p", "payments-mysql"],
    &["-p", "rides"],
    &["-p", "sms"],
    &["-p", "shipping"],
    &["-p", "invoicing"],
    &["-p", "loyalty"],
    &["-p", "metering"],
];

/// The cheap steps come first.
fn steps() -> Vec<Step> {
    let mut steps = vec![
        Step::of_cargo(&["fmt", "--all", "--check"]).needing("rustfmt"),
        Step::of_xtask("rules", rules::step),
        clippy(&["--workspace", "--all-targets", "--all-features"]),
    ];
    let mut documentation = Step::of_cargo(&["doc", "--workspace", "--no-deps", "--all-features"]);
    documentation.deny_warnings = true;
    steps.push(documentation);
    steps.push(Step::of_xtask("api", api::step));
    steps.push(Step::of_xtask("packages", packages::step));
    steps.extend(ALONE.iter().map(|selection| clippy(selection)));
    steps.push(Step::of_xtask("test", || tests(test::status)));
    steps.push(Step::of_xtask("test --galera", || {
        tests(test::galera_status)
    }));
    steps
}

fn clippy(selection: &[&'static str]) -> Step {
    Step::of_cargo(&[&["clippy"], selection, &["--", "-D", "warnings"]].concat()).needing("clippy")
}

fn tests(run: fn(&[OsString]) -> Result<ExitStatus>) -> Result<Verdict> {
    Ok(Verdict::of(run(&[])?.success()))
}

struct Step {
    name: String,
    work: Work,
    component: Option<&'static str>,
    deny_warnings: bool,
}

enum Work {
    /// Cargo with these arguments.
    Cargo(Vec<&'static str>),
    /// A task of `cargo xtask`.
    Task(fn() -> Result<Verdict>),
}

impl Step {
    fn of_cargo(arguments: &[&'static str]) -> Self {
        Self {
            name: format!("cargo {}", arguments.join(" ")),
            work: Work::Cargo(arguments.to_vec()),
            component: None,
            deny_warnings: false,
        }
    }

    fn of_xtask(name: &str, task: fn() -> Result<Verdict>) -> Self {
        Self {
            name: format!("cargo xtask {name}"),
            work: Work::Task(task),
            component: None,
            deny_warnings: false,
        }
    }

    fn needing(self, component: &'static str) -> Self {
        Self {
            component: Some(component),
            ..self
        }
    }

    fn run(&self) -> Result<Verdict> {
        let arguments = match &self.work {
            Work::Cargo(arguments) => arguments,
            Work::Task(task) => return task(),
        };
        if let Some(component) = self.component {
            cargo::check_component(arguments[0], component)?;
        }
        let mut command = cargo::command();
        command.args(arguments);
        if self.deny_warnings {
            let flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
            command.env("RUSTDOCFLAGS", format!("{flags} -D warnings").trim());
        }
        Ok(Verdict::of(process::run(&mut command)?.success()))
    }
}

struct Outcome {
    name: String,
    verdict: Verdict,
    seconds: Option<f64>,
}

impl Outcome {
    fn new(name: String, verdict: Verdict, duration: Option<Duration>) -> Self {
        let did_run = !matches!(verdict, Verdict::NotRun(_));
        Self {
            name,
            verdict,
            seconds: duration
                .filter(|_| did_run)
                .map(|duration| duration.as_secs_f64()),
        }
    }

    fn is_failure(&self) -> bool {
        self.verdict == Verdict::Failed
    }

    fn line(&self) -> String {
        let (status, reason) = match &self.verdict {
            Verdict::Passed => ("passed", String::new()),
            Verdict::Failed => ("FAILED", String::new()),
            Verdict::NotRun(reason) => ("not run", format!(": {reason}")),
        };
        let seconds = self
            .seconds
            .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"));
        format!("{status:7} {seconds:>9}  {}{reason}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_come_in_the_order_of_their_cost() {
        let names: Vec<String> = steps().into_iter().map(|step| step.name).collect();
        let first = [
            "cargo fmt --all --check",
            "cargo xtask rules",
            "cargo clippy --workspace --all-targets --all-features -- -D warnings",
            "cargo doc --workspace --no-deps --all-features",
            "cargo xtask api",
            "cargo xtask packages",
            "cargo clippy -p idem-core -- -D warnings",
            "cargo clippy -p idem-core --features sqlite -- -D warnings",
        ];
        assert_eq!(names[..first.len()], first);
        assert_eq!(names.len(), 6 + ALONE.len() + 2);
        let last = ["cargo xtask test", "cargo xtask test --galera"];
        assert_eq!(names[names.len() - 2..], last);
    }

    #[test]
    fn the_summary_aligns_what_ran_and_what_did_not() {
        let duration = Some(Duration::from_millis(1234));
        let passed = Outcome::new("a".to_owned(), Verdict::Passed, duration);
        let reason = Verdict::NotRun("another toolchain".to_owned());
        let skipped = Outcome::new("b".to_owned(), reason, duration);
        assert_eq!(passed.line(), "passed      1.2 s  a");
        assert_eq!(skipped.line(), "not run         -  b: another toolchain");
    }

    #[test]
    fn only_a_failed_step_fails_the_rest() {
        let outcome = |verdict| Outcome::new("a".to_owned(), verdict, None);
        assert!(outcome(Verdict::Failed).is_failure());
        assert!(!outcome(Verdict::Passed).is_failure());
        assert!(!outcome(Verdict::NotRun(String::new())).is_failure());
    }
}
