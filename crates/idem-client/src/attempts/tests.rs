//! The attempts on scripted answers, in virtual time.

use std::collections::VecDeque;
use std::sync::Mutex;

use http::header::{DATE, RETRY_AFTER};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Outcomes, one for each attempt, and the time that each attempt takes.
struct Script {
    outcomes: Mutex<VecDeque<Outcome>>,
    takes: Duration,
    starts: Mutex<Vec<Instant>>,
}

impl Script {
    fn of(outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        Self {
            outcomes: Mutex::new(outcomes.into_iter().collect()),
            takes: Duration::ZERO,
            starts: Mutex::default(),
        }
    }

    async fn send(&self) -> Result<Answer, Error> {
        self.within(60 * SECOND).await
    }

    async fn within(&self, within: Duration) -> Result<Answer, Error> {
        let limits = Limits {
            within,
            attempt: 10 * SECOND,
            first_pause: Duration::from_millis(200),
            longest_pause: 10 * SECOND,
        };
        let budget = Budget::new(1000, SECOND);
        let key = Key::derive("space", "operation", "id");
        send(self, key, "host", limits, &budget).await
    }

    fn pauses(&self) -> Vec<Duration> {
        let starts = self.starts.lock().unwrap();
        starts.windows(2).map(|two| two[1] - two[0]).collect()
    }
}

impl Transport for Script {
    async fn attempt(&self, within: Duration) -> Outcome {
        self.starts.lock().unwrap().push(Instant::now());
        if self.takes > within {
            tokio::time::sleep(within).await;
            return lost();
        }
        tokio::time::sleep(self.takes).await;
        let next = self.outcomes.lock().unwrap().pop_front();
        next.unwrap_or_else(|| answer(503, &[], ""))
    }
}

fn answer(status: u16, headers: &[(&str, &str)], body: &'static str) -> Outcome {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Outcome::Answer(response.body(Bytes::from(body)).unwrap())
}

fn problem(status: u16, body: &'static str) -> Outcome {
    answer(
        status,
        &[("content-type", "application/problem+json; charset=utf-8")],
        body,
    )
}

fn in_flight() -> Outcome {
    problem(
        409,
        r#"{"type":"https://x/#in-flight","retryable":true,"safe_new_key":false}"#,
    )
}

fn lost() -> Outcome {
    Outcome::Lost {
        error: "cut".into(),
        is_sent: true,
        lifetime: None,
    }
}

fn unconnected() -> Outcome {
    Outcome::Lost {
        error: "refused".into(),
        is_sent: false,
        lifetime: None,
    }
}

#[track_caller]
fn answered(sent: Result<Answer, Error>) -> (u16, u32) {
    let answer = sent.expect("an answer");
    (answer.status().as_u16(), answer.attempts)
}

#[track_caller]
fn unfinished(sent: Result<Answer, Error>) -> Unfinished {
    match sent {
        Err(Error::Unfinished(unfinished)) => *unfinished,
        other => panic!("not unfinished: {other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn what_may_pass_is_asked_again() {
    for again in [
        lost(),
        unconnected(),
        answer(408, &[], ""),
        answer(425, &[], ""),
        answer(429, &[], ""),
        answer(500, &[], ""),
        answer(599, &[], ""),
        in_flight(),
    ] {
        let what = format!("{again:?}");
        let script = Script::of([again, answer(201, &[], "")]);
        assert_eq!(answered(script.send().await), (201, 2), "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_final_is_not_asked_again() {
    for last in [
        answer(200, &[], ""),
        answer(303, &[], ""),
        answer(400, &[], ""),
        answer(401, &[], ""),
        answer(409, &[], ""),
        problem(409, r#"{"type":"https://x/taken","title":"Taken"}"#),
        answer(422, &[], ""),
        // The application's own refusal to try again.
        problem(503, r#"{"type":"about:blank","retryable":false}"#),
        // A recorded answer stays as it is.
        answer(503, &[("idempotency-expires", "@4102444800")], ""),
        answer(500, &[("idempotency-replayed", "true")], ""),
    ] {
        let what = format!("{last:?}");
        let script = Script::of([last, answer(201, &[], "")]);
        assert_eq!(answered(script.send().await).1, 1, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_key_is_no_answer() {
    for (status, body, name, safe) in [
        (
            422,
            r#"{"type":"https://x/#key-reused","title":"T","retryable":false,"safe_new_key":false}"#,
            "key-reused",
            false,
        ),
        (
            500,
            r#"{"type":"https://x/response-too-large","retryable":false,"safe_new_key":true}"#,
            "response-too-large",
            true,
        ),
        (
            409,
            r#"{"type":"https://x/#step-uncertain","retryable":false,"safe_new_key":false}"#,
            "step-uncertain",
            false,
        ),
    ] {
        let script = Script::of([lost(), problem(status, body)]);
        match script.send().await {
            Err(Error::Refused(refused)) => {
                assert_eq!(refused.problem.name(), name);
                assert_eq!(refused.problem.status, status);
                assert_eq!((refused.safe_new_key, refused.attempts), (safe, 2));
            }
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_the_least_pause() {
    let now = "Fri, 27 Nov 2026 03:04:05 GMT";
    let date = "Fri, 27 Nov 2026 03:04:35 GMT";
    let script = Script::of([
        answer(503, &[(RETRY_AFTER.as_str(), "7")], ""),
        answer(
            429,
            &[(DATE.as_str(), now), (RETRY_AFTER.as_str(), date)],
            "",
        ),
        answer(201, &[], ""),
    ]);
    assert_eq!(answered(script.send().await), (201, 3));
    let pauses = script.pauses();
    assert!(
        pauses[0] >= 7 * SECOND && pauses[0] < 8 * SECOND,
        "{pauses:?}"
    );
    assert!(
        pauses[1] >= 30 * SECOND && pauses[1] < 31 * SECOND,
        "{pauses:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_beyond_the_deadline_is_not_waited_for() {
    for after in ["61", "18446744073709551615"] {
        let script = Script::of([answer(503, &[(RETRY_AFTER.as_str(), after)], "")]);
        let start = Instant::now();
        let unfinished = unfinished(script.send().await);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert!(matches!(unfinished.last, Last::Answer(last) if last.status() == 503));
    }
}

#[tokio::test(start_paused = true)]
async fn pauses_are_random_and_double_up_to_the_longest() {
    let mut longest = [Duration::ZERO; 9];
    for _ in 0..200 {
        let script = Script::of((0..9).map(|_| lost()).chain([answer(201, &[], "")]));
        let sent = script.within(1000 * SECOND).await;
        assert_eq!(answered(sent), (201, 10));
        for (longest, pause) in longest.iter_mut().zip(script.pauses()) {
            *longest = pause.max(*longest);
        }
    }
    for (index, seen) in longest.into_iter().enumerate() {
        let most = Duration::from_millis(200 << index).min(10 * SECOND);
        // Timers have a granularity of a millisecond.
        assert!(seen <= most + Duration::from_millis(2), "{index}: {seen:?}");
        assert!(seen > most / 2, "{index}: {seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_deadline_ends_all_attempts() {
    let script = Script {
        takes: 4 * SECOND,
        ..Script::of([])
    };
    let start = Instant::now();
    let unfinished = unfinished(script.within(30 * SECOND).await);
    assert!(start.elapsed() <= 30 * SECOND, "{:?}", start.elapsed());
    assert!(start.elapsed() >= 20 * SECOND, "{:?}", start.elapsed());
    assert!((3..=8).contains(&unfinished.attempts));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_given_up() {
    let script = Script {
        takes: 11 * SECOND,
        ..Script::of([])
    };
    let unfinished = unfinished(script.within(25 * SECOND).await);
    assert!(matches!(unfinished.last, Last::NoAnswer(_)));
    let pauses = script.pauses();
    assert!(
        pauses[0] >= 10 * SECOND && pauses[0] < 11 * SECOND,
        "{pauses:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_says_nothing_about_a_lost_attempt_leaves_the_doubt() {
    for (doubt, last) in [
        (lost(), answer(401, &[], "")),
        (answer(502, &[], ""), answer(404, &[], "")),
        (in_flight(), answer(303, &[], "")),
    ] {
        let script = Script::of([doubt, last]);
        let unfinished = unfinished(script.send().await);
        assert_eq!(unfinished.attempts, 2);
        assert!(matches!(unfinished.last, Last::Answer(_)));
    }
    let recorded = [("idempotency-expires", "@4102444800")];
    let undone = r#"{"type":"https://x/#handler-panicked","retryable":true,"safe_new_key":true}"#;
    for (first, last, status) in [
        (lost(), answer(201, &[], ""), 201),
        (lost(), answer(402, &recorded, ""), 402),
        (unconnected(), answer(401, &[], ""), 401),
        (answer(429, &[], ""), answer(404, &[], ""), 404),
        (problem(500, undone), answer(400, &[], ""), 400),
    ] {
        let script = Script::of([first, last]);
        assert_eq!(answered(script.send().await), (status, 2));
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_is_asked_after_the_record_is_forgotten() {
    let cut = |seconds| Outcome::Lost {
        error: "the body breaks off".into(),
        is_sent: true,
        lifetime: Some(seconds * SECOND),
    };
    let script = Script::of([cut(0), answer(201, &[], "")]);
    assert_eq!(unfinished(script.send().await).attempts, 1);
    // The pause until the retry is bounded by the record's lifetime.
    let script = Script::of([cut(5), lost(), lost()]);
    let start = Instant::now();
    unfinished(script.send().await);
    assert!(start.elapsed() <= 5 * SECOND, "{:?}", start.elapsed());
    let script = Script::of([cut(5), answer(201, &[], "")]);
    assert_eq!(answered(script.send().await), (201, 2));
}

#[tokio::test(start_paused = true)]
async fn an_empty_budget_ends_in_doubt() {
    let limits = Limits {
        within: 60 * SECOND,
        attempt: SECOND,
        first_pause: Duration::ZERO,
        longest_pause: Duration::ZERO,
    };
    let budget = Budget::new(3, 3600 * SECOND);
    let key = Key::derive("space", "operation", "id");
    let first = send(&Script::of([]), key, "host", limits, &budget).await;
    assert_eq!(unfinished(first).attempts, 4);
    let second = send(&Script::of([]), key, "host", limits, &budget).await;
    assert_eq!(unfinished(second).attempts, 1);
    let elsewhere = send(&Script::of([]), key, "other", limits, &budget).await;
    assert_eq!(unfinished(elsewhere).attempts, 4);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_too_long_is_not_asked_for_again() {
    let script = Script::of([Outcome::TooLong(StatusCode::CREATED), answer(201, &[], "")]);
    let unfinished = unfinished(script.send().await);
    assert!(matches!(
        unfinished.last,
        Last::TooLong(StatusCode::CREATED)
    ));
    assert_eq!(unfinished.attempts, 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_goes_on_is_asked_for_without_the_budget() {
    let pending = || {
        let headers = [
            ("preference-applied", "respond-async"),
            ("retry-after", "2"),
        ];
        answer(202, &headers, r#"{"status":"pending"}"#)
    };
    let replayed = answer(201, &[("idempotent-replayed", "true")], "");
    let script = Script::of([pending(), pending(), pending(), replayed]);
    let limits = Limits {
        within: 60 * SECOND,
        attempt: 10 * SECOND,
        first_pause: 10 * SECOND,
        longest_pause: 10 * SECOND,
    };
    let budget = Budget::new(1, 1000 * SECOND);
    let key = Key::derive("space", "operation", "id");
    let answer = send(&script, key, "host", limits, &budget).await.unwrap();
    assert_eq!((answer.attempts, answer.replayed), (4, true));
    assert_eq!(script.pauses(), [2 * SECOND; 3]);

    let script = Script::of(std::iter::repeat_with(pending).take(100));
    let Err(Error::Unfinished(unfinished)) = script.send().await else {
        panic!("it goes on beyond the time");
    };
    assert_eq!(unfinished.attempts, 30);
    // A 202 of the application itself is its answer.
    let script = Script::of([answer_of_application()]);
    assert_eq!(script.send().await.unwrap().status(), 202);
}

fn answer_of_application() -> Outcome {
    answer(202, &[("location", "/jobs/7")], "")
}
