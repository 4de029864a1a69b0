//! Paths as actix-web routes them.

use idem_tests::{Actix, Database, Framework, World, conformance};

conformance![
    by Actix:
    f1_percent_encoded_path_that_is_routed_alike_is_the_same_request,
];

/// actix-web decodes a path before it looks for the route.
async fn f1_percent_encoded_path_that_is_routed_alike_is_the_same_request<D: Database>(
    world: &World<Actix, D>,
) where
    Actix: Framework<D>,
{
    let instance = world.instance().await;
    for (plain, encoded) in [
        ("/effects", "/%65ffects"),
        ("/effects?a=1", "/effect%73?a=1"),
        ("/accounts/7/effects", "/accounts/%37/effects"),
        ("/accounts/a%2fb/effects", "/accounts/%61%2fb/effects"),
    ] {
        println!("{plain} {encoded}");
        for (key, first, retry) in [("k1", plain, encoded), ("k2", encoded, plain)] {
            let key = format!("{key}-{}", world.control.entries());
            let first = instance.post(first).key(&key).effect("a").send().await;
            first.assert_executed(201);
            let retry = instance.post(retry).key(&key).effect("a").send().await;
            retry.assert_replays(&first);
        }
    }
    let other = instance
        .post("/accounts/%38/effects")
        .key("k1-4")
        .effect("a");
    other.send().await.assert_problem("key-reused");
}
