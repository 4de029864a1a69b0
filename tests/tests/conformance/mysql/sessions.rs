//! The state of sessions before, during and after an attempt.

use idem_tests::{
    Act, Domain as _, Framework, Instance, Mysql, Reply, Scene, Settings, World, conformance,
};

conformance![
    on Mysql:
    i6_session_is_as_it_was_after_every_outcome,
    i6_session_is_as_it_was_after_a_claim_that_failed,
    o13_limit_is_a_second_more_than_the_deadline,
    o13_limit_of_the_session_is_kept_where_it_is_stricter,
    e1_times_are_the_same_whatever_the_session_is_like,
];

const STATE: &str = "SELECT CAST(CONCAT_WS(' ', @@SESSION.autocommit + 0, @@SESSION.wait_timeout, \
     @@SESSION.innodb_lock_wait_timeout) AS CHAR)";

/// The settings of the pool's one connection.
async fn state(instance: &Instance<Mysql>) -> String {
    let mut connection = instance.pool.acquire().await.expect("a connection");
    // Refused inside a transaction.
    let between = connection.run("SET TRANSACTION READ WRITE").await;
    between.expect("no transaction is left open");
    connection.text(STATE).await.expect("a state")
}

fn alone() -> Settings {
    let mut settings = Settings::default();
    settings.wires.connections = 1;
    settings.wires.opening =
        "SET SESSION wait_timeout = 1234, SESSION innodb_lock_wait_timeout = 7";
    settings
}

async fn i6_session_is_as_it_was_after_every_outcome<F: Framework<Mysql>>(world: &World<F, Mysql>) {
    let instance = world.instance_with(alone()).await;
    let request = instance.post("/bounded").effect("a");
    let ends = [
        Scene::effect(),
        Scene::answering(Reply::new(422)),
        Scene::answering(Reply::new(500)),
        Scene::new([Act::Insert, Act::Panic]),
        Scene::new([Act::Insert, Act::Hang]),
        Scene::new([Act::Insert, Act::run("COMMIT")]),
        Scene::new([Act::Insert, Act::run("SET SESSION wait_timeout = 99")]),
        Scene::new([Act::Nested(true), Act::Nested(false), Act::Begin]),
    ];
    for (number, end) in ends.into_iter().enumerate() {
        world.control.play([end]);
        let request = request.clone().key(format!("key-{number}"));
        for _ in 0..2 {
            request.send().await;
            assert_eq!(state(&instance).await, "1 1234 7", "end {number}");
        }
    }
    let keyless = instance.post("/optional").effect("a");
    for status in [201, 500] {
        world.control.play([Scene::answering(Reply::new(status))]);
        keyless.send().await.assert_executed(status);
        assert_eq!(state(&instance).await, "1 1234 7");
    }
}

async fn i6_session_is_as_it_was_after_a_claim_that_failed<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let (owner, instance) = (world.instance().await, world.instance_with(alone()).await);
    let settled = owner.post("/hasty").key("settled").effect("a");
    let first = settled.send().await;
    settled
        .to(instance.address)
        .send()
        .await
        .assert_replays(&first);
    assert_eq!(state(&instance).await, "1 1234 7");
    world.control.play([Scene::gated()]);
    let held = owner.post("/hasty").key("held").effect("a");
    let pending = held.start();
    world.control.at_gate(1).await;
    for _ in 0..3 {
        let elsewhere = held.clone().to(instance.address).send().await;
        elsewhere.assert_problem("in-flight");
        assert_eq!(state(&instance).await, "1 1234 7");
    }
    world.control.open(1);
    pending.answer().await.assert_executed(201);
}

/// `wait_timeout` inside a handler.
async fn limit<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
    path: &str,
    opening: &'static str,
) -> String {
    let notes = "INSERT INTO effects SELECT 'limit', @@SESSION.wait_timeout";
    world.control.play([Scene::new([Act::run(notes)])]);
    let mut settings = Settings::default();
    settings.wires.opening = opening;
    let instance = world.instance_with(settings).await;
    let request = instance.post(path).effect("a");
    let request = if path == "/optional" {
        request
    } else {
        request.key("k")
    };
    request.send().await.assert_executed(201);
    let limit = world.text("SELECT label FROM effects").await;
    world.run("DELETE FROM effects").await;
    world.run("DELETE FROM idem_records").await;
    limit
}

async fn o13_limit_is_a_second_more_than_the_deadline<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    for (path, seconds) in [("/effects", "31"), ("/optional", "31"), ("/bounded", "2")] {
        assert_eq!(limit(world, path, "DO 0").await, seconds, "{path}");
    }
}

async fn o13_limit_of_the_session_is_kept_where_it_is_stricter<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let stricter = "SET SESSION wait_timeout = 20";
    assert_eq!(limit(world, "/effects", stricter).await, "20");
    assert_eq!(limit(world, "/bounded", stricter).await, "2");
}

async fn e1_times_are_the_same_whatever_the_session_is_like<F: Framework<Mysql>>(
    world: &World<F, Mysql>,
) {
    let mut openings = vec![
        "SET SESSION time_zone = '+13:00'",
        "SET SESSION time_zone = '-11:30'",
        "SET SESSION sql_mode = ''",
        "SET SESSION sql_mode = 'ANSI'",
        "SET SESSION sql_mode = 'NO_BACKSLASH_ESCAPES'",
        "SET SESSION sql_mode = 'TRADITIONAL,HIGH_NOT_PRECEDENCE,IGNORE_SPACE,PAD_CHAR_TO_FULL_LENGTH'",
        "SET SESSION sql_auto_is_null = 1",
        "SET SESSION default_storage_engine = MyISAM",
        "SET SESSION character_set_connection = ucs2",
    ];
    if world.text("SELECT VERSION()").await.contains("MariaDB") {
        openings.extend([
            "SET SESSION sql_mode = 'SIMULTANEOUS_ASSIGNMENT'",
            "SET SESSION sql_mode = 'ORACLE'",
            "SET SESSION sql_mode = 'EMPTY_STRING_IS_NULL'",
        ]);
    }
    let usual = world.instance().await;
    for (number, opening) in openings.into_iter().enumerate() {
        println!("{opening}");
        let mut settings = Settings::default();
        settings.wires.opening = opening;
        let instance = world.instance_with(settings).await;
        let request = instance
            .post("/effects")
            .key(format!("key-{number}"))
            .effect("a");
        world.control.play([
            Scene::answering(Reply::new(500)),
            Scene::answering(Reply::bytes(200, b"'\\\" \0\xff")),
        ]);
        request.send().await.assert_executed(500);
        let first = request.send().await;
        first.assert_executed(200);
        request.send().await.assert_replays(&first);
        let replay = request.clone().to(usual.address).send().await;
        replay.assert_replays(&first);
        let new = usual
            .post("/effects")
            .key(format!("new-{number}"))
            .effect("a");
        let new = new.send().await;
        let later = new.expires().expect("R7") - first.expires().expect("R7");
        assert!((0..=10).contains(&later), "{opening}: {later}");
        new.assert_executed(201);
        assert_eq!(instance.engine.purge_expired().await.expect("purges"), 0);
    }
}
