//! X1: clients that leave in every way, at every point of a request that is visible from outside.

use std::time::Duration;

use bytes::Bytes;
use idem_core::Config;
use idem_faults::{
    Answered, Client, Direction, Fault, Goodbye, Harm, Proxy, Report, Traffic, retried,
};
use idem_tests::{
    Act, Body, Database, Framework, Instance, Reply, Request, Scene, Served, Settings, Wires,
    World, conformance,
};
use tokio::time::sleep;

mod anywhere {
    use super::x1_client_leaves_at_every_point;

    idem_tests::conformance![x1_client_leaves_at_every_point,];
}

conformance![
    on [Postgres RecordInCommit Mysql]:
    x1_client_leaves_while_the_wire_is_held,
];

const PATH: &str = "/effects";

/// The point at which a client leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// P0: half of the body is sent.
    InTheBody,
    /// P0: the request waits for a connection.
    BeforeTheClaim,
    /// P3: the request is claimed, and nothing else is done.
    Claimed,
    /// P5 and P6: the handler waits after its statement.
    InTheHandler,
    /// P12: a part of the answer is written.
    InTheAnswer,
}

const PLACES: [Place; 5] = [
    Place::InTheBody,
    Place::BeforeTheClaim,
    Place::Claimed,
    Place::InTheHandler,
    Place::InTheAnswer,
];

/// More than the 4 MiB that Linux buffers of an answer that nobody reads.
const LARGE: usize = 5 * 1024 * 1024;

async fn x1_client_leaves_at_every_point<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let config = Config::new().with_response_limit(2 * LARGE);
    let instance = world.configured(config.clone()).await;
    let clean = world.configured(config).await;
    let mut report = Report::default();
    for place in PLACES {
        for goodbye in Goodbye::ALL {
            let label = format!("{place:?}-{goodbye:?}");
            let request = request(&instance, &label);
            let entries = world.control.entries();
            let answered = leave(world, &instance, &request, (place, goodbye), &label).await;
            let elsewhere = request.clone().to(clean.address);
            let answered = vec![answered.await.expect("answered")];
            report = report.and(retried(world, [&request, &elsewhere], answered, &label).await);
            // A claimed attempt runs to its end (O10). A request without a claim runs when it is
            // sent again.
            assert_eq!(
                world.control.entries(),
                entries + 1,
                "{place:?} {goodbye:?}"
            );
        }
    }
    report.holds();
    report.is_soon_over();
    assert_eq!(report.faults, PLACES.len() * Goodbye::ALL.len());
}

fn request<D: Database>(instance: &Instance<D>, label: &str) -> Request {
    instance.post(PATH).key(label).effect(label)
}

/// Lets a client leave at this point. The task returns the answer.
async fn leave<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    instance: &Instance<D>,
    request: &Request,
    (place, goodbye): (Place, Goodbye),
    label: &str,
) -> tokio::task::JoinHandle<Answered> {
    let control = &world.control;
    let (extracted, gated) = (control.extractions() + 1, control.gated() + 1);
    match place {
        Place::InTheBody => Client::send(request, 3, goodbye).await.leave().await,
        Place::BeforeTheClaim => {
            let taken = instance.whole_pool().await;
            let client = Client::send(request, 0, goodbye).await;
            control.extracted(extracted).await;
            let left = client.leave().await;
            drop(taken);
            left
        }
        Place::Claimed | Place::InTheHandler => {
            let acts = match place {
                Place::Claimed => [Act::Wait, Act::Insert],
                _ => [Act::Insert, Act::Wait],
            };
            control.play([Scene::new(acts)]);
            let client = Client::send(request, 0, goodbye).await;
            control.at_gate(gated).await;
            let left = client.leave().await;
            control.open(1);
            left
        }
        Place::InTheAnswer => {
            let body = format!(r#"{{"label":"{label}","rest":"{}"}}"#, "x".repeat(LARGE));
            let reply = Reply::new(201).body(Body::Bytes(Bytes::from(body)));
            control.play([Scene::answering(reply)]);
            let mut client = Client::send(request, 0, goodbye).await;
            client.begin_to_read().await;
            client.leave().await
        }
    }
}

/// The number of positions, in each direction, at which the test holds the wire.
const BYTES: usize = 6;

/// P1, P2, P8 to P10, P13 and P14: the bytes to the database, or its answers, stop after a byte.
/// Then the client leaves, and then the wire is released.
async fn x1_client_leaves_while_the_wire_is_held<F: Framework<D>, D: Served>(world: &World<F, D>) {
    let proxy = Proxy::to(world.database.address()).await;
    let wires = Wires {
        connections: 1,
        through: Some(proxy.address),
        ..Wires::default()
    };
    let settings = Settings::from(wires);
    let (held, clean) = (world.instance_with(settings).await, world.instance().await);
    let mut report = Report::default();
    for is_replay in [false, true] {
        let traffic = traffic(&proxy, &held, &clean, is_replay).await;
        for direction in [Direction::Requests, Direction::Answers] {
            let bytes = traffic.of(direction);
            for after in (0..bytes).step_by(bytes.div_ceil(BYTES)) {
                for goodbye in Goodbye::ALL {
                    let label = format!("{is_replay}-{direction:?}-{after}-{goodbye:?}");
                    let request = request(&held, &label);
                    let entries = world.control.entries();
                    let mut answered = Vec::new();
                    let elsewhere = request.clone().to(clean.address);
                    if is_replay {
                        answered.push(Answered::Answer(elsewhere.send().await));
                    }
                    let harms = proxy.harms();
                    proxy.arm(Fault {
                        direction,
                        after,
                        harm: Harm::HoldBack,
                    });
                    let mut client = Client::send(&request, 0, goodbye).await;
                    let done = tokio::select! {
                        () = proxy.harmed(harms + 1) => true,
                        () = client.begin_to_read() => false,
                    };
                    let left = client.leave().await;
                    proxy.heal();
                    answered.push(left.await.expect("answered"));
                    let requests = [&request, &elsewhere];
                    let mut seen = retried(world, requests, answered, &label).await;
                    seen.faults = usize::from(done);
                    report = report.and(seen);
                    assert_eq!(world.control.entries(), entries + 1, "{is_replay} {after}");
                    idle(&held).await;
                }
            }
        }
    }
    report.holds();
    report.is_soon_over();
    assert!(report.faults >= 3 * (BYTES - 1) * Goodbye::ALL.len());
}

/// The traffic of a request when everything is prepared.
async fn traffic<D: Served>(
    proxy: &Proxy,
    held: &Instance<D>,
    clean: &Instance<D>,
    is_replay: bool,
) -> Traffic {
    for round in 0..2 {
        let label = format!("traffic-{is_replay}-{round}");
        let request = request(held, &label);
        if is_replay {
            request.clone().to(clean.address).send().await;
        }
        proxy.count();
        request.send().await;
        idle(held).await;
    }
    proxy.traffic()
}

/// Waits until the connection has returned to its pool, as it sends bytes on the way.
async fn idle<D: Served>(held: &Instance<D>) {
    drop(held.whole_pool().await);
    while held.pool.num_idle() == 0 {
        sleep(Duration::from_millis(1)).await;
    }
}
