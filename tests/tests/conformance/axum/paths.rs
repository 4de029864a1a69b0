//! Paths as axum routes them.

use idem_tests::{Axum, Database, Framework, World, conformance};

conformance![
    by Axum:
    f1_percent_encoded_path_is_bound_as_received,
];

/// axum looks for the route of a path that is not decoded.
async fn f1_percent_encoded_path_is_bound_as_received<D: Database>(world: &World<Axum, D>)
where
    Axum: Framework<D>,
{
    let instance = world.instance().await;
    let post = |id: &str| {
        let request = instance.post(&format!("/accounts/{id}/effects"));
        request.key("k").effect("a")
    };
    let first = post("a%2fb").send().await;
    first.assert_executed(201);
    post("%61%2fb").send().await.assert_problem("key-reused");
    post("a%2fb").send().await.assert_replays(&first);
}
