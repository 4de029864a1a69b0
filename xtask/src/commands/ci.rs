//! `cargo xtask ci`.

use std::ffi::OsString;
use std::process::{ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Result;

use super::{cargo, test};
use xtask::process;

pub(crate) fn run() -> Result<ExitCode> {
    let mut outcomes = Vec::new();
    let mut result = Ok(true);
    for step in steps() {
        if !matches!(result, Ok(true)) {
            outcomes.push(Outcome {
                name: step.name,
                status: "not run",
                seconds: None,
            });
            continue;
        }
        eprintln!("\n=== {}", step.name);
        let start = Instant::now();
        result = step.run();
        let outcome = Outcome::new(step.name, matches!(result, Ok(true)), start.elapsed());
        eprintln!("=== {}", outcome.line());
        outcomes.push(outcome);
    }
    eprintln!("\n=== summary");
    for outcome in &outcomes {
        eprintln!("{}", outcome.line());
    }
    result.map(|passed| {
        if passed {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    })
}

/// What each published crate is linted with alone, because the workspace's build hides a feature
/// which a crate uses without asking for it.
const PUBLISHED: &[&[&str]] = &[
    &["-p", "idem-core"],
    &["-p", "idem-core", "--features", "sqlite"],
    &["-p", "idem-core", "--features", "postgres"],
    &["-p", "idem-core", "--features", "mysql"],
    &["-p", "idem-macros"],
    &["-p", "idem-axum"],
    &["-p", "idem-axum", "--features", "sqlite"],
    &["-p", "idem-axum", "--features", "postgres"],
    &["-p", "idem-axum", "--features", "mysql"],
    &["-p", "idem-actix"],
    &["-p", "idem-actix", "--features", "sqlite"],
    &["-p", "idem-actix", "--features", "postgres"],
    &["-p", "idem-actix", "--features", "mysql"],
];

fn steps() -> Vec<Step> {
    let mut steps = vec![
        Step::new(&["fmt", "--all", "--check"]).needing("rustfmt"),
        clippy(&["--workspace", "--all-targets", "--all-features"]),
    ];
    steps.extend(PUBLISHED.iter().map(|selection| clippy(selection)));
    let mut documentation = Step::new(&["doc", "--workspace", "--no-deps", "--all-features"]);
    documentation.deny_warnings = true;
    steps.push(documentation);
    steps.push(Step::of_tests("cargo xtask test", test::status));
    steps.push(Step::of_tests(
        "cargo xtask test --galera",
        test::galera_status,
    ));
    steps
}

fn clippy(selection: &[&'static str]) -> Step {
    Step::new(&[&["clippy"], selection, &["--", "-D", "warnings"]].concat()).needing("clippy")
}

struct Step {
    name: String,
    /// Of cargo.
    arguments: Vec<&'static str>,
    component: Option<&'static str>,
    deny_warnings: bool,
    /// Instead of cargo alone: tests need servers too.
    tests: Option<Tests>,
}

/// Runs tests with more arguments.
type Tests = fn(&[OsString]) -> Result<ExitStatus>;

impl Step {
    fn new(arguments: &[&'static str]) -> Self {
        let name = format!("cargo {}", arguments.join(" "));
        Self {
            name,
            arguments: arguments.to_vec(),
            component: None,
            deny_warnings: false,
            tests: None,
        }
    }

    fn of_tests(name: &str, tests: Tests) -> Self {
        Self {
            name: name.to_owned(),
            tests: Some(tests),
            ..Self::new(&[])
        }
    }

    fn needing(self, component: &'static str) -> Self {
        Self {
            component: Some(component),
            ..self
        }
    }

    fn run(&self) -> Result<bool> {
        if let Some(tests) = self.tests {
            return Ok(tests(&[])?.success());
        }
        if let Some(component) = self.component {
            cargo::check_component(self.arguments[0], component)?;
        }
        let mut command = cargo::command();
        command.args(&self.arguments);
        if self.deny_warnings {
            let flags = std::env::var("RUSTDOCFLAGS").unwrap_or_default();
            command.env("RUSTDOCFLAGS", format!("{flags} -D warnings").trim());
        }
        Ok(process::run(&mut command)?.success())
    }
}

struct Outcome {
    name: String,
    status: &'static str,
    seconds: Option<f64>,
}

impl Outcome {
    fn new(name: String, passed: bool, duration: Duration) -> Self {
        let status = if passed { "passed" } else { "FAILED" };
        Self {
            name,
            status,
            seconds: Some(duration.as_secs_f64()),
        }
    }

    fn line(&self) -> String {
        let seconds = self
            .seconds
            .map_or_else(|| "-".to_owned(), |seconds| format!("{seconds:.1} s"));
        format!("{:7} {seconds:>9}  {}", self.status, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_come_in_the_order_of_their_cost() {
        let names: Vec<String> = steps().into_iter().map(|step| step.name).collect();
        assert_eq!(names.len(), 5 + PUBLISHED.len());
        assert_eq!(names[0], "cargo fmt --all --check");
        assert_eq!(
            names[1],
            "cargo clippy --workspace --all-targets --all-features -- -D warnings"
        );
        assert_eq!(
            names[3],
            "cargo clippy -p idem-core --features sqlite -- -D warnings"
        );
        assert_eq!(
            names[names.len() - 3],
            "cargo doc --workspace --no-deps --all-features"
        );
        assert_eq!(names[names.len() - 2], "cargo xtask test");
        assert_eq!(names[names.len() - 1], "cargo xtask test --galera");
    }

    #[test]
    fn the_summary_aligns_what_ran_and_what_did_not() {
        let passed = Outcome::new("a".to_owned(), true, Duration::from_millis(1234));
        let skipped = Outcome {
            name: "b".to_owned(),
            status: "not run",
            seconds: None,
        };
        assert_eq!(passed.line(), "passed      1.2 s  a");
        assert_eq!(skipped.line(), "not run         -  b");
    }
}
