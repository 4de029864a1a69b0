//! X24: `idem-client` on a wire that is cut or dead after every byte, and a process of it that is killed and
//! started again.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use fastrand::Rng;
use idem_client::{Client, Error, Key};
use idem_faults::{Answered, Direction, Fault, Harm, Proxy, Report, Traffic, alone, retried};
use idem_tests::{
    Answer, Database, Domain as _, Framework, Postgres, Reply, Scene, Service, Site, Sqlite, Wires,
    World, conformance,
};
use serde_json::json;
use tokio::process::Command;
use tokio::time::timeout;

conformance![
    on [Sqlite Postgres]:
    x24_wire_between_client_and_service_cut_after_every_byte,
    x24_wire_between_client_and_service_dead,
    x24_refusal_is_final_and_an_attempt_in_flight_is_waited_for,
];

const PATH: &str = "/effects";

const DIRECTIONS: [Direction; 2] = [Direction::Requests, Direction::Answers];

async fn x24_wire_between_client_and_service_cut_after_every_byte<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let report = sweep(world, &[Harm::Cut], 1).await;
    assert!(report.faults >= 400, "hardly any fault was injected");
}

/// A sample, as each attempt is waited for in vain.
async fn x24_wire_between_client_and_service_dead<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let report = sweep(world, &[Harm::Stall, Harm::BlackHole], 29).await;
    assert!(report.faults >= 30, "hardly any fault was injected");
}

/// Sends an intent for each harm at each byte. Each has to be answered in spite of it.
async fn sweep<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    harms: &[Harm],
    step: usize,
) -> Report {
    let instance = world.instance().await;
    let proxy = to(instance.address).await;
    let builder = reqwest::Client::builder();
    let client = Client::new(builder, "faults.example/test").expect("a client");
    let client = client
        .with_attempt_timeout(Duration::from_millis(300))
        .with_pauses(Duration::from_millis(1), Duration::from_millis(20))
        .with_retry_budget(1000, Duration::from_millis(1));
    let traffic = traffic(&proxy, &client).await;
    let mut report = Report::default();
    for direction in DIRECTIONS {
        for after in (0..traffic.of(direction)).step_by(step) {
            for &harm in harms {
                let id = format!("{direction:?} {after} {harm:?}");
                let (entries, harmed) = (world.control.entries(), proxy.harms());
                proxy.arm(Fault {
                    direction,
                    after,
                    harm,
                });
                let (key, answer) = pay(&proxy, &client, &id).await;
                assert_eq!(proxy.harms(), harmed + 1, "{id}");
                proxy.heal();
                assert_eq!(answer.status, 201, "{id}");
                let direct = instance.post(PATH).key(&key).effect(&key);
                let answered = vec![Answered::Answer(answer)];
                report = report.and(retried(world, [&direct, &direct], answered, &key).await);
                assert_eq!(world.control.entries(), entries + 1, "{id}");
            }
        }
    }
    report.holds();
    report
}

async fn x24_refusal_is_final_and_an_attempt_in_flight_is_waited_for<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let client = Client::new(reqwest::Client::builder(), "faults.example/test");
    let client = client.expect("a client");
    let request = |id: &str, label: &str| {
        let intent = client.once("pay", id);
        // It does not wait for an attempt in flight.
        let request = intent.post(format!("http://{}/hasty", instance.address));
        let request = request.header("x-tenant", "acme");
        request.json(&json!({ "label": label }))
    };
    world.control.play([Scene::gated()]);
    let first = tokio::spawn(request("a", "a").send());
    world.control.at_gate(1).await;
    let second = tokio::spawn(request("a", "a").send());
    // The second attempt of the second process.
    world.control.extracted(3).await;
    world.control.open(1);
    let first = first.await.expect("a task").expect("an answer");
    let second = second.await.expect("a task").expect("an answer");
    assert!(second.attempts > 1 && second.replayed, "{second:?}");
    assert!(!first.replayed && first.recorded && second.recorded);
    assert_eq!(first.response.body(), second.response.body());

    match request("a", "b").send().await {
        Err(Error::Refused(refused)) => {
            assert_eq!(refused.problem.name(), "key-reused");
            assert!(!refused.safe_new_key);
        }
        other => panic!("not refused: {other:?}"),
    }
    let own = [503, 422].map(|status| Scene::answering(Reply::bytes(status, "no")));
    world.control.play(own);
    let no = request("c", "c").send().await.expect("an answer");
    assert_eq!((no.status().as_u16(), no.attempts), (422, 2));
    assert!(no.recorded, "it says how the first attempt went");
    let again = request("c", "c").send().await.expect("an answer");
    assert!(again.replayed && again.response.body() == no.response.body());
    assert_eq!(world.effects("acme").await, 1);
}

async fn to(server: SocketAddr) -> Proxy {
    Proxy::to((server.ip().to_string(), server.port())).await
}

/// The traffic of an intent on a connection that is open.
async fn traffic(proxy: &Proxy, client: &Client) -> Traffic {
    pay(proxy, client, "first").await;
    proxy.count();
    pay(proxy, client, "second").await;
    proxy.traffic()
}

/// Sends an intent through the proxy. Its key is also the label of its effect.
async fn pay(proxy: &Proxy, client: &Client, id: &str) -> (String, Answer) {
    let intent = client.once("pay", id);
    let key = intent.key().to_string();
    let request = intent.post(format!("http://{}{PATH}", proxy.address));
    let request = request.header("x-tenant", "acme");
    let answer = request.json(&json!({ "label": key })).send().await;
    let answer = answer.unwrap_or_else(|error| panic!("{id}: {error:?}"));
    let headers = answer.response.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()));
    let answer = Answer {
        status: answer.status().as_u16(),
        headers: headers.collect(),
        body: answer.response.body().clone(),
    };
    (key, answer)
}

#[test]
fn x24_client_killed_axum_sqlite() {
    alone(kill_client::<Sqlite>("service-axum", Rng::with_seed(24)));
}

#[test]
fn x24_client_killed_actix_postgres() {
    alone(kill_client::<Postgres>("service-actix", Rng::with_seed(42)));
}

const INTENTS: usize = 40;

/// Kills the client's process once or more in each intent: at a random byte of the wire, and at a random
/// time.
async fn kill_client<D: Database>(program: &'static str, mut rng: Rng) {
    let site = Site {
        database: D::create().await,
        program,
    };
    let service = Service::working(&site, Duration::from_millis(5)).await;
    let proxy = to(service.address).await;
    let traffic = {
        proxy.count();
        printed(&proxy, "traffic").await;
        proxy.traffic()
    };
    let mut kills = 0;
    for intent in 0..INTENTS {
        let id = format!("intent {intent}");
        let direction = DIRECTIONS[intent % 2];
        let harmed = proxy.harms();
        proxy.arm(Fault {
            direction,
            after: rng.usize(0..traffic.of(direction)),
            harm: Harm::Stall,
        });
        let mut waiting = payer(&proxy, &id).spawn().expect("a client");
        proxy.harmed(harmed + 1).await;
        waiting.kill().await.expect("a client that waits");
        proxy.heal();
        kills += 1;
        let first = loop {
            // Dropping the run kills the process.
            let run = printed(&proxy, &id);
            match timeout(Duration::from_millis(rng.u64(0..25)), run).await {
                Ok(first) => break first,
                Err(_) => kills += 1,
            }
        };
        let again = printed(&proxy, &id).await;
        let body = |printed: &str| printed.lines().last().map(str::to_owned);
        assert!(first.starts_with("201 "), "{id}: {first}");
        assert!(again.starts_with("201 replayed\n"), "{id}: {again}");
        assert_eq!(body(&first), body(&again), "{id}");
    }
    println!("{kills} kills of {INTENTS} intents");
    assert!(
        kills > INTENTS * 5 / 4,
        "hardly any client was killed at a random time"
    );

    let pool = site.database.connect(Wires::default()).await;
    let mut connection = pool.acquire().await.expect("a connection");
    let effects = "SELECT note, count(*) FROM payments GROUP BY note";
    let effects = connection.numbers(effects).await.expect("the payments");
    for intent in 0..INTENTS {
        let id = format!("intent {intent}");
        let key = Key::derive("faults.example/test", "pay", &id).to_string();
        assert_eq!(effects.get(&key), Some(&1), "{id}");
    }
    assert_eq!(effects.len(), INTENTS + 1);
    service.kill().await;
    drop(connection);
    pool.close().await;
    site.database.remove().await;
}

fn payer(proxy: &Proxy, id: &str) -> Command {
    let mut payer = Command::new(env!("CARGO_BIN_EXE_payer"));
    payer.args([&proxy.address.to_string(), id]);
    payer.stdin(Stdio::null()).stdout(Stdio::null());
    payer.kill_on_drop(true);
    payer
}

/// The answer, in a run of the client to its end.
async fn printed(proxy: &Proxy, id: &str) -> String {
    let output = payer(proxy, id).stdout(Stdio::piped()).output().await;
    let output = output.expect("a client");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("text")
}
