//! What comes after a fault: the client retries, and everything that can be seen is checked.

use std::time::{Duration, Instant};

use idem_core::{IdempotencyKey, Identity, Operation};
use idem_tests::{Database, Framework, Request, World};
use tokio::time::sleep;

use crate::checker::{Evidence, Told, check};
use crate::lane::EFFECTS;
use crate::report::Report;

/// Longer than any retry may need.
const PATIENCE: Duration = Duration::from_secs(20);

/// Retries until there is an answer that stays, sends the request once more, which may go elsewhere, and
/// checks what is seen. The label is the key, too, and the tenant is `acme`.
pub async fn retried<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    [request, again]: [&Request; 2],
    mut told: Vec<Told>,
    label: &str,
) -> Report {
    let start = Instant::now();
    let settled = loop {
        let answer = request.send().await;
        if matches!(answer.status, 201 | 422) {
            break answer;
        }
        let text = answer.text();
        assert!(
            start.elapsed() < PATIENCE,
            "{label}: {} {text}",
            answer.status
        );
        sleep(Duration::from_millis(2)).await;
    };
    let slowest = start.elapsed();
    told.extend([settled, again.send().await].map(Told::Answer));
    let (method, path) = request.target();
    let key = IdempotencyKey::parse(label.as_bytes()).expect("a key");
    let operation = Operation::of_route(method, path);
    let identity = Identity::new(Some("acme"), &operation, &key);
    let mut connection = world.observe().await;
    let label = label.to_owned();
    let read = Evidence::read::<D>(&mut connection, EFFECTS, &identity, told, label);
    let evidence = read.await;
    let violations = check(&evidence).into_iter();
    let violations = violations.map(|violation| (violation, format!("{evidence:.400?}")));
    Report {
        faults: 1,
        violations: violations.collect(),
        slowest,
        ..Report::default()
    }
}

impl Report {
    /// Asserts that nothing was violated, and that every identity was answerable again within a second (I5).
    ///
    /// # Panics
    ///
    /// If something was.
    #[track_caller]
    pub fn holds(&self) {
        println!("{self}");
        assert!(self.violations.is_empty(), "violations");
        assert!(self.slowest < Duration::from_secs(1), "I5");
    }
}
