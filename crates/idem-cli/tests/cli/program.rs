//! Runs the program.

use std::process::Stdio;

use idem_tests::Database;
use serde_json::Value;
use tokio::process::Command;

/// What a run left.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

/// Runs the program on a database.
pub(crate) async fn idem(url: &str, arguments: &[&str]) -> Run {
    idem_with("IDEM_DATABASE_URL", url, arguments).await
}

/// Runs a command on a database.
pub(crate) async fn run<D: Database>(database: &D, command: &str, arguments: &[&str]) -> Run {
    let arguments = [&[command], arguments].concat();
    idem(&database.url(), &arguments).await
}

/// Runs the program with the URL in this variable alone.
pub(crate) async fn idem_with(variable: &str, url: &str, arguments: &[&str]) -> Run {
    let output = Command::new(env!("CARGO_BIN_EXE_idem"))
        .args(arguments)
        .env_remove("IDEM_DATABASE_URL")
        .env_remove("DATABASE_URL")
        .env(variable, url)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("the program starts");
    Run {
        code: output.status.code().expect("not killed"),
        out: output.stdout,
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

impl Run {
    #[track_caller]
    pub(crate) fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.raw(), self.err);
        self
    }

    pub(crate) fn raw(&self) -> &str {
        std::str::from_utf8(&self.out).expect("text")
    }

    /// The output without what depends on the time of the test.
    pub(crate) fn text(&self) -> String {
        without_times(self.raw())
    }

    /// The one object of `--json`.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        let object: Value = serde_json::from_slice(&self.out).expect("one JSON object");
        assert_eq!(object["exit_code"], self.code);
        object
    }
}

/// Replaces points of the calendar, and what stands in parentheses after one.
fn without_times(text: &str) -> String {
    let mut clean = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("20") {
        let (before, time) = rest.split_at(start);
        clean.push_str(before);
        let is_time =
            time.as_bytes().get(4) == Some(&b'-') && time.as_bytes().get(10) == Some(&b'T');
        if !is_time {
            clean.push_str(&time[..2]);
            rest = &time[2..];
            continue;
        }
        clean.push_str("TIME");
        rest = time.split_once('Z').map_or("", |(_, rest)| rest);
        if let Some((_, after)) = rest.strip_prefix(" (").and_then(|age| age.split_once(')')) {
            clean.push_str(" (AGE)");
            rest = after;
        }
    }
    clean + rest
}
