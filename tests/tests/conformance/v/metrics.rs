//! Metrics, as Prometheus gets them. The exact counts of all of them are tested in the engine.

use std::any::type_name;
use std::time::Duration;

use idem_tests::{Act, Database, Framework, Metrics, Reply, Scene, World, answers, conformance};
use tokio::time::{sleep, timeout};

conformance![
    traced:
    v2_requests_are_counted_by_outcome_and_timed_by_store,
];

async fn v2_requests_are_counted_by_outcome_and_timed_by_store<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let request = instance.post("/patient").effect("a");
    let request = |key| request.clone().key(key);
    world.control.play([Scene::gated()]);
    let first = request("k").start();
    world.control.entered(1).await;
    let waiters = vec![request("k").start(), request("k").start()];
    let both_wait = async {
        while Metrics::lines("idem_waiters") != ["idem_waiters 2"] {
            sleep(Duration::from_millis(1)).await;
        }
    };
    let both_wait = timeout(Duration::from_secs(10), both_wait).await;
    both_wait.expect("both are counted");
    assert_eq!(Metrics::lines("idem_in_flight"), ["idem_in_flight 1"]);
    world.control.open(1);
    first.answer().await.assert_executed(201);
    for waiter in answers(waiters).await {
        assert!(waiter.is_replay());
    }
    assert!(request("k").send().await.is_replay());
    let mismatch = request("k").effect("b").send().await;
    mismatch.assert_problem("key-reused");
    world.control.play([
        Scene::answering(Reply::new(422)),
        Scene::new([Act::Panic]),
        Scene::new([Act::run("COMMIT")]),
    ]);
    for key in ["k2", "k3", "k4"] {
        request(key).send().await;
    }
    let line = |outcome: &str, error: &str, count: u32| {
        format!(
            "idem_requests_total{{operation=\"POST /patient\",outcome=\"{outcome}\",\
             error_type=\"{error}\"}} {count}"
        )
    };
    let expected = [
        line("executed", "", 1),
        line("failed_final", "", 1),
        line("failed_final", "transaction-lost", 1),
        line("failed_retriable", "handler-panicked", 1),
        line("mismatch", "key-reused", 1),
        line("replayed", "", 1),
        line("waited", "", 2),
    ];
    assert_eq!(Metrics::lines("idem_requests_total"), expected);
    for gauge in ["idem_in_flight", "idem_waiters"] {
        assert_eq!(Metrics::lines(gauge), [format!("{gauge} 0")]);
    }
    let store = type_name::<D::Store>().rsplit("::").next();
    let store = format!("{{store=\"{}\"}}", store.expect("a name"));
    for metric in ["claim", "settle"] {
        let lines = Metrics::lines(&format!("idem_{metric}_duration_seconds_count"));
        assert!(
            matches!(&lines[..], [line] if line.contains(&store)),
            "{lines:?}"
        );
    }
}
