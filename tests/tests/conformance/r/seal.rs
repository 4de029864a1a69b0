//! Sealed records.

use idem_core::{Config, Seal};
use idem_tests::{Database, Framework, Reply, Scene, World, conformance};

conformance![r12_sealed_response_is_replayed_and_not_in_the_database,];

const SECRET: &str = "IBAN DE02120300000000202051";
const LOCATION: &str = "/accounts/202051";

/// An engine's settings with the pepper of this number.
fn sealing(number: u32) -> Config {
    let pepper = format!("the pepper with the number {number}");
    let seal = Seal::try_new(number, pepper.as_bytes());
    Config::new().with_seal(seal.expect("the pepper is long enough"))
}

async fn r12_sealed_response_is_replayed_and_not_in_the_database<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (one, other) = (
        world.configured(sealing(1)).await,
        world.configured(sealing(1)).await,
    );
    let plain = world.instance().await;
    let reply = || Reply::bytes(201, SECRET).header("location", LOCATION);
    world.control.play([reply(), reply()].map(Scene::answering));

    let request = one.post("/effects").key("sealed").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
    let elsewhere = request.clone().to(other.address);
    elsewhere.send().await.assert_replays(&first);
    for text in [SECRET, LOCATION] {
        assert_eq!(world.responses_with(text).await, 0);
    }

    // The search finds what was recorded before, and that is replayed.
    let unsealed = request.clone().key("plain");
    let before = unsealed.clone().to(plain.address).send().await;
    before.assert_executed(201);
    for text in [SECRET, LOCATION] {
        assert_eq!(world.responses_with(text).await, 1);
    }
    unsealed.send().await.assert_replays(&before);

    let stranger = world.configured(sealing(2)).await;
    for instance in [&stranger, &plain] {
        let refused = request.clone().to(instance.address).send().await;
        refused.assert_problem("record-unreadable");
    }
    let change = format!("UPDATE {} SET status = 202", D::RECORDS);
    assert_eq!(world.run(change).await, 2);
    elsewhere.send().await.assert_problem("record-unreadable");
    assert_eq!(world.control.entries(), 2);

    // No pepper is needed for a record that has expired.
    world.expire().await;
    let again = request.to(stranger.address).send().await;
    again.assert_executed(201);
}
