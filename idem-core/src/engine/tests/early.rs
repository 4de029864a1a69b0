//! Clients that ask again instead of waiting.

use std::pin::pin;
use std::sync::Arc;

use tokio::sync::Notify;

use super::*;
use crate::adapter::{Policy, answer_within};

static EARLY: Policy = POLICY
    .with_respond_within(SECOND)
    .with_deadline(Duration::from_mins(1));

/// Asks with this patience. The handler answers when it is told so; after an early answer it is dropped here.
async fn early(
    engine: &Engine<Script>,
    key: Option<&str>,
    patience: Duration,
    go: &Arc<Notify>,
) -> Response {
    let request = request(key, &EARLY).with_patience(Some(patience));
    match admit(engine, request).await {
        Ok(turn) => {
            let (patience, go) = (turn.patience(), Arc::clone(go));
            let attempt = turn.run(async move |_guard, attempt| {
                go.notified().await;
                answered(201, &attempt)
            });
            answer_within(pin!(attempt), patience).await
        }
        Err(answer) => answer,
    }
}

#[tokio::test(start_paused = true)]
async fn c7_the_answer_comes_when_the_time_is_over_and_the_handler_runs() {
    let engine = Engine::new(Script::default().slowly().wins().wins().wins());
    let go = Arc::new(Notify::new());
    // The claim takes half a second.
    for (patience, takes) in [(0, 500), (499, 500), (700, 700)] {
        let start = Instant::now();
        let answer = early(&engine, Some("k"), patience * MILLISECOND, &go).await;
        assert_eq!(answer.status(), 202);
        assert_eq!(answer.headers()["retry-after"], "2");
        let took = start.elapsed();
        assert!(
            took >= takes * MILLISECOND && took <= (takes + 1) * MILLISECOND,
            "{took:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn c7_a_key_that_another_process_holds_is_pending() {
    let engine = Engine::new(Script::default());
    let start = Instant::now();
    let answer = early(&engine, Some("k"), SECOND, &Arc::default()).await;
    assert_eq!(
        (answer.status().as_u16(), asked(&engine).len() > 5),
        (202, true)
    );
    assert!(start.elapsed() <= SECOND);
}

#[tokio::test(start_paused = true)]
async fn c7_an_answer_in_time_is_the_handler_s() {
    let engine = Engine::new(Script::default().wins());
    let go = Arc::new(Notify::new());
    go.notify_one();
    is_own(
        &early(&engine, Some("k"), SECOND, &go).await,
        201,
        "attempt 1",
    );
}

#[tokio::test(start_paused = true)]
async fn c7_a_request_that_is_not_recorded_is_never_answered_early() {
    let unprotected = Config::new().without_protection();
    for (config, key) in [(Config::new(), None), (unprotected, Some("k"))] {
        let engine = Engine::with_config(Script::default().wins(), config);
        let go = Arc::new(Notify::new());
        let handler = Arc::clone(&go);
        tokio::spawn(async move {
            tokio::time::sleep(10 * SECOND).await;
            handler.notify_one();
        });
        is_own(
            &early(&engine, key, Duration::ZERO, &go).await,
            201,
            "attempt 1",
        );
    }
}
