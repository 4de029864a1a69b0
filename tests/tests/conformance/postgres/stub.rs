//! A database whose lock function locks nothing.

use idem_tests::{Framework, Postgres, Scene, Traces, World, conformance};
use tracing::Level;

use super::locks::ALWAYS;

conformance![
    traced on Postgres:
    c1_lock_that_locks_nothing_is_warned_of_and_works,
];

async fn c1_lock_that_locks_nothing_is_warned_of_and_works<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let traces = Traces::capture();
    // The check warns of a lock function that excludes nobody.
    drop(world.instance().await);
    world.run(ALWAYS).await;
    let (one, other) = (world.instance().await, world.instance().await);
    let warned = |event: &idem_tests::Traced| {
        event.level == Level::WARN && event.fields["message"].contains("idem.try_lock")
    };
    let warnings = traces.events().iter().filter(|event| warned(event)).count();
    assert_eq!(warnings, 2, "{:?}", traces.events());

    world.control.play([Scene::gated(), Scene::gated()]);
    let request = one.post("/patient").key("k").effect("a");
    let elsewhere = request.clone().to(other.address);
    let pending = [request.start(), elsewhere.start()];
    world.control.at_gate(2).await;
    world.control.open(2);
    let [first, second] = pending;
    let (first, second) = (first.answer().await, second.answer().await);
    assert_eq!((first.status, second.status), (201, 201));
    assert_eq!(first.body, second.body);
    assert_ne!(first.is_replay(), second.is_replay());
    assert_eq!(world.effects("acme").await, 1);
}
