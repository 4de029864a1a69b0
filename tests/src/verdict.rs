//! Assertions on complete answers.

use crate::client::{Answer, Pending};

/// Headers that belong to one transmission.
const TRANSMISSION: [&str; 4] = ["date", "content-length", "connection", "transfer-encoding"];

/// The contract's table: type, status, whether a retry may help, and whether a new key is safe; `None`
/// where that depends.
const PROBLEMS: [(&str, u16, Option<bool>, Option<bool>); 14] = [
    ("key-missing", 400, Some(false), Some(true)),
    ("key-malformed", 400, Some(false), Some(true)),
    ("key-reused", 422, Some(false), Some(false)),
    ("in-flight", 409, Some(true), Some(false)),
    ("too-many-retries", 429, Some(true), Some(false)),
    ("try-again", 503, Some(true), Some(false)),
    ("outcome-unknown", 503, Some(true), Some(false)),
    ("unavailable", 503, Some(true), Some(false)),
    ("handler-panicked", 500, Some(true), Some(true)),
    ("transaction-lost", 500, None, None),
    ("step-uncertain", 409, Some(false), Some(false)),
    ("response-too-large", 500, Some(false), Some(true)),
    ("record-unreadable", 500, Some(false), Some(false)),
    ("misconfigured", 500, Some(false), Some(false)),
];

impl Answer {
    /// Asserts that this is one of the library's problem documents, complete by rules P1 to P4.
    #[track_caller]
    pub fn assert_problem(&self, name: &str) {
        self.assert_row(name, None);
    }

    /// The same at an endpoint with steps, where an earlier step may have an effect (rule T14).
    #[track_caller]
    pub fn assert_problem_of_steps(&self, name: &str) {
        self.assert_row(name, Some(false));
    }

    #[track_caller]
    fn assert_row(&self, name: &str, safe: Option<bool>) {
        let row = PROBLEMS.iter().find(|row| row.0 == name);
        let (_, status, retryable, safe_new_key) =
            *row.unwrap_or_else(|| panic!("no problem: {name}"));
        assert_eq!(self.status, status, "expected {name}: {}", self.text());
        assert_eq!(
            self.header("content-type"),
            Some("application/problem+json"),
            "expected {name}: {}",
            self.text()
        );
        let document = self.json();
        let is_text = |member: &str| document[member].as_str().is_some_and(|t| !t.is_empty());
        let end = ["#", "/"].map(|before| format!("{before}{name}"));
        let is_of_type = document["type"]
            .as_str()
            .is_some_and(|given| end.iter().any(|end| given.ends_with(end)));
        assert!(is_of_type, "expected {name}: {document}");
        assert!(is_text("title") && is_text("detail"), "{document}");
        assert_eq!(document["status"], status);
        assert!(document["retryable"].is_boolean(), "{document}");
        assert!(document["safe_new_key"].is_boolean(), "{document}");
        for (member, expected) in [
            ("retryable", retryable),
            ("safe_new_key", safe.or(safe_new_key)),
        ] {
            let is_as_expected = expected.is_none_or(|expected| document[member] == expected);
            assert!(is_as_expected, "{member}: {document}");
        }
        if matches!(status, 409 | 429 | 503) {
            let has_time = self.header("retry-after").is_some();
            assert_eq!(has_time, name != "step-uncertain", "P2: Retry-After");
        }
        assert!(!self.is_replay(), "P3: {name} is marked as a replay");
    }

    /// Asserts that this problem may be retried, or that it may not.
    #[track_caller]
    pub fn assert_retryable(&self, retryable: bool) {
        assert_eq!(self.json()["retryable"], retryable, "{}", self.text());
    }

    /// Asserts that a handler ran for this answer, and that the answer has this status.
    #[track_caller]
    pub fn assert_executed(&self, status: u16) {
        assert_eq!(self.status, status, "{}", self.text());
        assert!(!self.is_replay(), "a replay: {}", self.text());
        assert_ne!(
            self.header("content-type"),
            Some("application/problem+json"),
            "{}",
            self.text()
        );
    }

    /// Asserts that this replays `first`: the same status, bytes and headers, and the marker.
    #[track_caller]
    pub fn assert_replays(&self, first: &Self) {
        assert!(
            self.is_replay(),
            "no replay: {} {}",
            self.status,
            self.text()
        );
        assert_eq!(self.status, first.status);
        assert_eq!(self.body, first.body, "not byte-identical");
        let lines = |answer: &Self| -> Vec<_> {
            let belongs =
                |name: &str| !TRANSMISSION.contains(&name) && name != "idempotency-replayed";
            let mut lines = answer.headers.clone();
            lines.retain(|(name, _)| belongs(name));
            // The sort is stable: duplicates keep their order.
            lines.sort_by(|a, b| a.0.cmp(&b.0));
            lines
        };
        assert_eq!(lines(self), lines(first));
        assert!(self.expires().is_some(), "R7: no Idempotency-Expires");
    }
}

/// Waits for all answers.
pub async fn answers(pending: Vec<Pending>) -> Vec<Answer> {
    let mut answers = Vec::new();
    for pending in pending {
        answers.push(pending.answer().await);
    }
    answers
}

/// Asserts that one of them was executed and that all others replay it.
#[track_caller]
pub fn assert_one_executed(answers: &[Answer]) {
    let executed: Vec<_> = answers.iter().filter(|a| !a.is_replay()).collect();
    assert_eq!(executed.len(), 1, "{executed:?}");
    executed[0].assert_executed(201);
    for replay in answers.iter().filter(|answer| answer.is_replay()) {
        replay.assert_replays(executed[0]);
    }
}
