//! The round trips of a request to PostgreSQL, compared with the bare transaction on the same pool.

use std::sync::Arc;

use idem_core::PostgresStore;
use idem_tests::Served as _;
use idem_tests::{
    Domain as _, Exchange, Framework, Instance, Postgres, Recorder, Reply, Scene, Settings, World,
    conformance,
};

conformance![
    on Postgres:
    cost_of_a_fresh_request_is_one_round_trip_more_than_the_bare_transaction,
    cost_of_a_fresh_request_with_its_record_in_commit_is_no_more_round_trip,
    cost_of_a_fresh_request_with_unnamed_statements_is_two_round_trips_more,
    cost_of_a_fresh_request_with_begin_alone_is_two_round_trips_more,
    cost_of_a_replay_elsewhere_is_two_round_trips_in_all,
    cost_of_a_replay_in_the_same_process_is_one_round_trip_in_all,
    cost_of_a_final_failure_is_two_round_trips_more,
    cost_response_is_never_in_the_text_of_a_statement,
    cost_response_is_in_the_text_with_its_record_in_commit,
];

/// An instance with one connection, and the messages on it.
struct Recorded {
    recorder: Recorder,
    instance: Arc<Instance<Postgres>>,
}

impl Recorded {
    /// Afterwards the statements are prepared, and the store knows its setup.
    async fn warm<F: Framework<Postgres>>(
        world: &World<F, Postgres>,
        store: fn(PostgresStore) -> PostgresStore,
    ) -> Self {
        let recorder = Recorder::to(world.database.address()).await;
        let mut settings = Settings::of_store(store);
        settings.wires.connections = 1;
        settings.wires.through = Some(recorder.address);
        let instance = world.instance_with(settings).await;
        let this = Self { recorder, instance };
        let fails = Scene::effect().answer(Reply::new(422));
        world.control.play([Scene::effect(), fails]);
        for key in ["warm", "fails"] {
            this.instance
                .post("/effects")
                .key(key)
                .effect("a")
                .send()
                .await;
        }
        this.bare().await;
        this
    }

    /// The round trips of some work on the pool's one connection, from its acquisition to its
    /// return.
    async fn of(&self, work: impl Future) -> Vec<Exchange> {
        let held = self.instance.whole_pool().await;
        self.recorder.take();
        drop(held);
        work.await;
        drop(self.instance.whole_pool().await);
        self.recorder.take()
    }

    async fn bare(&self) -> Vec<Exchange> {
        self.of(async {
            let mut transaction = self.instance.pool.begin().await.expect("begins");
            let inserted = transaction.insert("acme", "a").await;
            inserted.expect("inserts");
            transaction.commit().await.expect("commits");
        })
        .await
    }

    async fn request(&self, key: &str, status: u16) -> Vec<Exchange> {
        let request = self.instance.post("/effects").key(key).effect("a");
        self.of(async {
            assert_eq!(request.send().await.status, status);
        })
        .await
    }

    /// After the first one on a connection, which prepares the statement.
    async fn assert_replay_is_one_round_trip(&self, key: &str) {
        let first = self.request(key, 201).await;
        assert_eq!(words(&first), ["PDS ", "BECS "]);
        let replay = self.request(key, 201).await;
        assert_eq!(words(&replay), ["BECS "]);
    }

    /// The bytes of a fresh request beyond those of the bare transaction.
    async fn assert_costs(&self, statements: &[&str], bytes: usize) {
        let (bare, fresh) = (self.bare().await, self.request("fresh", 201).await);
        assert_eq!(words(&bare), ["Q BEGIN", "BECS ", "Q COMMIT"]);
        assert_eq!(words(&fresh), statements);
        let (bare, fresh) = (size(&bare), size(&fresh));
        println!("{statements:?}: {fresh:?} bytes to the server and back, bare: {bare:?}");
        let more = fresh.0 + fresh.1 - bare.0 - bare.1;
        assert!(more < bytes, "{more} bytes more than {bare:?}");
    }
}

/// The kinds of an exchange's messages, and the first word of the text.
fn words(exchanges: &[Exchange]) -> Vec<String> {
    let summaries = exchanges.iter().map(Exchange::summary);
    let words = summaries.map(|summary| {
        let words: Vec<_> = summary.split(' ').take(2).collect();
        words.join(" ")
    });
    words.collect()
}

fn size(exchanges: &[Exchange]) -> (usize, usize) {
    let sent = exchanges.iter().map(|exchange| exchange.sent).sum();
    let received = exchanges.iter().map(|exchange| exchange.received).sum();
    (sent, received)
}

async fn cost_of_a_fresh_request_is_one_round_trip_more_than_the_bare_transaction<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    let recorded = Recorded::warm(world, |store| store).await;
    let statements = ["Q BEGIN", "BECS ", "BECS ", "Q COMMIT"];
    recorded.assert_costs(&statements, 1024).await;
}

async fn cost_of_a_fresh_request_with_its_record_in_commit_is_no_more_round_trip<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    let recorded = Recorded::warm(world, PostgresStore::with_record_in_commit).await;
    // The end of the empty transaction that follows travels with the pool's ping.
    let statements = ["Q BEGIN", "BECS ", "Q CALL", "QS ROLLBACK"];
    recorded.assert_costs(&statements, 1536).await;
}

async fn cost_of_a_fresh_request_with_unnamed_statements_is_two_round_trips_more<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    let recorded = Recorded::warm(world, PostgresStore::with_unnamed_statements).await;
    let statements = ["Q BEGIN", "BECS ", "PDS ", "BECS ", "Q COMMIT"];
    recorded.assert_costs(&statements, 2048).await;
}

async fn cost_of_a_fresh_request_with_begin_alone_is_two_round_trips_more<
    F: Framework<Postgres>,
>(
    world: &World<F, Postgres>,
) {
    let recorded = Recorded::warm(world, PostgresStore::with_begin_alone).await;
    let statements = ["Q BEGIN", "Q CALL", "BECS ", "BECS ", "Q COMMIT"];
    recorded.assert_costs(&statements, 1536).await;
    let request = world.instance().await.post("/effects").key("elsewhere");
    let first = request.effect("a").send().await;
    first.assert_executed(201);
    let replay = recorded.request("elsewhere", 201).await;
    assert_eq!(
        words(&replay),
        ["Q BEGIN", "Q CALL", "Q ROLLBACK", "Q SELECT"]
    );
}

async fn cost_of_a_replay_elsewhere_is_two_round_trips_in_all<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let recorded = Recorded::warm(world, |store| store).await;
    let request = world.instance().await.post("/effects").key("elsewhere");
    request.effect("a").send().await.assert_executed(201);
    let replay = recorded.request("elsewhere", 201).await;
    assert_eq!(words(&replay), ["Q BEGIN", "Q ROLLBACK;"]);
    recorded.assert_replay_is_one_round_trip("elsewhere").await;
    assert_eq!(world.control.entries(), 3);
}

async fn cost_of_a_replay_in_the_same_process_is_one_round_trip_in_all<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let recorded = Recorded::warm(world, |store| store).await;
    recorded.assert_replay_is_one_round_trip("warm").await;
    assert_eq!(world.control.entries(), 2);
}

async fn cost_of_a_final_failure_is_two_round_trips_more<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let recorded = Recorded::warm(world, |store| store).await;
    world
        .control
        .play([Scene::effect().answer(Reply::new(422))]);
    let failure = recorded.request("failure", 422).await;
    let statements = ["Q BEGIN", "BECS ", "Q ROLLBACK", "BECS ", "Q COMMIT"];
    assert_eq!(words(&failure), statements);
}

const BODY: &str = "a body that is in no other message";

/// Whether the body is in the text of a statement, plain or as hex; and whether it is among the bound values.
async fn has_body<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
    store: fn(PostgresStore) -> PostgresStore,
) -> (bool, bool) {
    let recorded = Recorded::warm(world, store).await;
    world
        .control
        .play([Scene::answering(Reply::bytes(201, BODY))]);
    let exchanges = recorded.request("recognised", 201).await;
    let hex: Vec<_> = BODY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let hex = hex.concat();
    let messages: Vec<_> = exchanges
        .iter()
        .flat_map(|exchange| &exchange.messages)
        .collect();
    let has = |kinds: &[char]| {
        let mut messages = messages
            .iter()
            .filter(|message| kinds.contains(&message.kind));
        messages.any(|message| message.has(BODY.as_bytes()) || message.has(hex.as_bytes()))
    };
    (has(&['Q', 'P']), has(&['B']))
}

async fn cost_response_is_never_in_the_text_of_a_statement<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    assert_eq!(has_body(world, |store| store).await, (false, true));
}

async fn cost_response_is_in_the_text_with_its_record_in_commit<F: Framework<Postgres>>(
    world: &World<F, Postgres>,
) {
    let store = PostgresStore::with_record_in_commit;
    assert_eq!(has_body(world, store).await, (true, false));
}
