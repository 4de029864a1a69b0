//! Problem documents.

use idem_core::Config;
use idem_tests::{Act, Database, Framework, Reply, Scene, World, conformance};

conformance![
    p1_base_of_the_types_can_be_configured,
    p1_no_internal_error_text_is_shown,
    p3_library_errors_are_never_recorded,
    p_tampered_record_is_unreadable_and_never_run_again,
    p_response_of_another_record_is_unreadable,
    p_record_of_an_unknown_version_is_unreadable,
    p_missing_tables_are_misconfigured,
];

async fn p1_base_of_the_types_can_be_configured<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let config = Config::new().with_problem_base("https://example.com/problems/");
    let request = world.configured(config).await.post("/effects").effect("a");
    let missing = request.send().await;
    missing.assert_problem("key-missing");
    let expected = "https://example.com/problems/key-missing";
    assert_eq!(missing.json()["type"], expected);
}

async fn p1_no_internal_error_text_is_shown<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    let request = instance.post("/effects").effect("a");
    let doom = D::doom();
    world.control.play([
        Scene::new([Act::Insert, Act::Panic]),
        Scene::new([Act::Insert, doom]),
        Scene::new([Act::Insert, Act::run("COMMIT")]),
        Scene::effect(),
    ]);
    let mut answers = Vec::new();
    for key in ["k1", "k2", "k3", "k4"] {
        answers.push(request.clone().key(key).send().await);
    }
    tamper(world, &format!("response = {}", D::bytes("00"))).await;
    answers.push(request.clone().key("k4").send().await);
    instance.pool.close().await;
    answers.push(request.key("k5").send().await);
    answers.retain(|answer| answer.status >= 400);
    assert_eq!(answers.len(), 5);
    for answer in answers {
        let text = answer.text().to_lowercase();
        for internal in [
            "sql",
            "pool",
            "constraint",
            "foreign",
            "scene",
            "savepoint",
            "checksum",
            "panicked at",
            "records",
            "closed",
        ] {
            assert!(!text.contains(internal), "{internal}: {text}");
        }
    }
}

async fn p3_library_errors_are_never_recorded<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world
        .configured(Config::new().with_response_limit(1000))
        .await;
    let request = instance.post("/bounded").effect("a");
    world.control.play([
        Scene::new([Act::Insert, Act::Panic]),
        Scene::answering(Reply::bytes(200, [b'x'; 1001])),
        Scene::new([Act::Insert, Act::Hang]),
    ]);
    for (key, problem) in [
        ("k1", "handler-panicked"),
        ("k2", "response-too-large"),
        ("k3", "try-again"),
        ("k 4", "key-malformed"),
    ] {
        let answer = request.clone().key(key).send().await;
        answer.assert_problem(problem);
        assert_eq!(answer.expires(), None);
    }
    let records = D::RECORDS;
    let recorded =
        format!("SELECT count(*) FROM {records} WHERE state <> 3 OR response IS NOT NULL");
    assert_eq!(world.number(recorded).await, 0);
    for key in ["k1", "k2", "k3"] {
        request.clone().key(key).send().await.assert_executed(201);
    }
    assert_eq!(world.effects("acme").await, 3);
}

async fn tamper<F: Framework<D>, D: Database>(world: &World<F, D>, change: &str) {
    let records = D::RECORDS;
    let changed = format!("UPDATE {records} SET {change} WHERE state <> 3");
    assert!(world.run(changed).await > 0);
}

async fn is_unreadable<F: Framework<D>, D: Database>(world: &World<F, D>, changes: &[String]) {
    let instance = world.instance().await;
    for (number, change) in changes.iter().enumerate() {
        let request = instance.post("/effects").effect("a");
        let request = request.key(format!("key-{number}"));
        request.send().await.assert_executed(201);
        tamper(world, change).await;
        for _ in 0..2 {
            request.send().await.assert_problem("record-unreadable");
        }
        assert_eq!(world.control.entries(), number + 1);
        world.run(format!("DELETE FROM {}", D::RECORDS)).await;
    }
}

async fn p_tampered_record_is_unreadable_and_never_run_again<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let changes = [
        format!("response = {}", D::bytes("")),
        format!("response = {}", D::bytes("0100000000ff")),
        "response = substr(response, 1, length(response) - 1)".to_owned(),
        "response = NULL".to_owned(),
        "status = 200".to_owned(),
        "status = 99".to_owned(),
        "fingerprint = substr(fingerprint, 1, 64)".to_owned(),
        format!("fingerprint = {}", D::bytes("")),
    ];
    is_unreadable(world, &changes).await;
}

async fn p_record_of_an_unknown_version_is_unreadable<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let changes = [
        "state = 9".to_owned(),
        "state = 0".to_owned(),
        format!("fingerprint = {}", D::bytes(&"02".repeat(65))),
        format!("response = {}", D::bytes("0200000000")),
    ];
    is_unreadable(world, &changes).await;
}

async fn p_response_of_another_record_is_unreadable<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").effect("a");
    let (mine, theirs) = (request.clone().key("k"), request.tenant("globex").key("k"));
    world
        .control
        .play([200, 202].map(|s| Scene::answering(Reply::new(s))));
    mine.send().await.assert_executed(200);
    theirs.send().await.assert_executed(202);
    let records = D::RECORDS;
    world
        .run(format!(
            "UPDATE {records} SET status = 202, response = \
             (SELECT response FROM (SELECT response FROM {records} WHERE status = 202) AS other) \
             WHERE status = 200"
        ))
        .await;
    mine.send().await.assert_problem("record-unreadable");
    assert!(theirs.send().await.is_replay());
}

async fn p_missing_tables_are_misconfigured<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    world.run(format!("DROP TABLE {}", D::RECORDS)).await;
    request.send().await.assert_problem("misconfigured");
    assert_eq!(world.control.entries(), 0);
}
