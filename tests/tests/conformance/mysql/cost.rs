//! The round trips of a request to MariaDB or MySQL.

use std::sync::Arc;

use idem_tests::Served as _;
use idem_tests::{Framework, Instance, Mysql, Reply, Scene, Settings, Wire, World, conformance};

conformance![
    on Mysql:
    cost_of_a_fresh_request_is_one_round_trip_more_than_the_bare_transaction,
    cost_of_a_replay_in_the_same_process_is_one_round_trip_in_all,
    cost_of_a_replay_elsewhere_is_two_round_trips_in_all,
    cost_of_a_final_failure_is_two_round_trips_more,
    cost_of_a_retry_is_two_round_trips_more,
    cost_response_is_never_in_the_text_of_a_statement,
];

/// An instance with one connection through a wire, on which every statement is prepared.
async fn warm<F: Framework<Mysql>>(world: &World<F, Mysql>) -> (Wire, Arc<Instance<Mysql>>) {
    let wire = Wire::to(world.database.address()).await;
    let mut settings = Settings::default();
    settings.wires.connections = 1;
    settings.wires.through = Some(wire.address);
    let instance = world.instance_with(settings).await;
    let request = instance.post("/effects").key("warm").effect("a");
    request.send().await.assert_executed(201);
    (wire, instance)
}

/// The round trips of a request, each as the first words of the message.
async fn trips(wire: &Wire, instance: &Instance<Mysql>, key: &str, status: u16) -> Vec<String> {
    drop(instance.whole_pool().await);
    wire.sent();
    let request = instance.post("/effects").key(key).effect("a");
    assert_eq!(request.send().await.status, status);
    drop(instance.whole_pool().await);
    let sent = wire.sent();
    let trips = sent.iter().map(|sent| summary(sent));
    trips.filter(|trip| !trip.is_empty()).collect()
}

/// The kinds of MySQL's packets and the first word of a text, without pings.
fn summary(mut sent: &[u8]) -> String {
    let mut words = Vec::new();
    while let [low, middle, high, _, rest @ ..] = sent {
        let length = u32::from_le_bytes([*low, *middle, *high, 0]) as usize;
        let (packet, next) = rest.split_at(length);
        sent = next;
        let text = String::from_utf8_lossy(&packet[1..]).into_owned();
        let word = text.split([' ', ';']).next().unwrap_or_default().to_owned();
        match packet[0] {
            3 => words.push(word),
            14 => {}
            22 => words.push(format!("prepare {word}")),
            23 => words.push("execute".to_owned()),
            kind => words.push(kind.to_string()),
        }
    }
    words.join(", ")
}

/// The bare transaction has three: BEGIN, the handler's statement and COMMIT. The end of sqlx's own transaction is
/// sent with the next message.
async fn cost_of_a_fresh_request_is_one_round_trip_more_than_the_bare_transaction<
    F: Framework<Mysql>,
>(
    world: &World<F, Mysql>,
) {
    let (wire, instance) = warm(world).await;
    let trips = trips(&wire, &instance, "fresh", 201).await;
    assert_eq!(trips, ["SET", "execute", "execute", "RELEASE", "ROLLBACK"]);
}

async fn cost_of_a_replay_in_the_same_process_is_one_round_trip_in_all<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let (wire, instance) = warm(world).await;
    let trips = trips(&wire, &instance, "warm", 201).await;
    assert_eq!(trips, ["SET"]);
}

async fn cost_of_a_replay_elsewhere_is_two_round_trips_in_all<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let (wire, instance) = warm(world).await;
    let request = world.instance().await.post("/effects").key("elsewhere");
    request.effect("a").send().await.assert_executed(201);
    let trips = trips(&wire, &instance, "elsewhere", 201).await;
    assert_eq!(trips, ["SET", "ROLLBACK"]);
}

async fn cost_of_a_final_failure_is_two_round_trips_more<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let (wire, instance) = warm(world).await;
    let fails = Scene::effect().answer(Reply::new(422));
    world.control.play([fails]);
    let trips = trips(&wire, &instance, "fails", 422).await;
    assert_eq!(
        trips,
        ["SET", "execute", "SHOW", "execute", "RELEASE", "ROLLBACK"]
    );
}

async fn cost_of_a_retry_is_two_round_trips_more<F: Framework<Mysql>>(world: &World<F, Mysql>) {
    let (wire, instance) = warm(world).await;
    world
        .control
        .play([Scene::effect().answer(Reply::new(500))]);
    let failed = instance.post("/effects").key("retried").effect("a");
    failed.send().await.assert_executed(500);
    let trips = trips(&wire, &instance, "retried", 201).await;
    assert_eq!(
        trips,
        ["SET", "SET", "execute", "execute", "RELEASE", "ROLLBACK"]
    );
}

async fn cost_response_is_never_in_the_text_of_a_statement<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    const BODY: &str = "a body that is in no other message";
    let (wire, instance) = warm(world).await;
    world
        .control
        .play([Scene::answering(Reply::bytes(201, BODY))]);
    wire.sent();
    let request = instance.post("/effects").key("recognised").effect("a");
    request.send().await.assert_executed(201);
    let hex: Vec<_> = BODY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let hex = hex.concat();
    let sent = wire.sent();
    let having = |text: &str| {
        let has = |sent: &&Vec<u8>| sent.windows(text.len()).any(|w| w == text.as_bytes());
        sent.iter().filter(has).collect::<Vec<_>>()
    };
    assert!(having(&hex).is_empty());
    let plain = having(BODY);
    assert_eq!(plain.len(), 1);
    assert_eq!(summary(plain[0]), "execute");
}
