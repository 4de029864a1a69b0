//! Problem documents.

use idem_core::{Config, ProblemForm};
use idem_tests::{Act, Database, Framework, Reply, Scene, World, conformance};

use super::unreadable::tamper;

conformance![
    p1_base_of_the_types_can_be_configured,
    p1_no_internal_error_text_is_shown,
    p2_in_flight_and_unavailable_have_retry_after,
    p3_library_errors_are_never_recorded,
    p1_missing_tables_are_misconfigured,
    p6_problems_take_the_form_of_the_application,
];

async fn p1_base_of_the_types_can_be_configured<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let config = Config::new().with_problem_base("https://example.com/problems/");
    let request = world.configured(config).await.post("/effects").effect("a");
    let missing = request.send().await;
    missing.assert_problem("key-missing");
    assert_eq!(missing.header("content-language"), Some("en"));
    let expected = "https://example.com/problems/key-missing";
    assert_eq!(missing.json()["type"], expected);
}

async fn p6_problems_take_the_form_of_the_application<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let config = Config::new().with_problem_form(|problem| {
        let body = format!("<p>{}</p>", problem.title);
        ProblemForm::new("text/html", body).with_header("x-problem", problem.problem.name())
    });
    let instance = world.configured(config).await;
    world.control.play([Scene::new([Act::Insert, Act::Panic])]);
    let request = instance.post("/effects").effect("a");
    for (request, name, status) in [
        (request.clone(), "key-missing", 400),
        (request.key("k"), "handler-panicked", 500),
    ] {
        let answer = request.send().await;
        assert_eq!(
            (answer.status, answer.header("x-problem")),
            (status, Some(name))
        );
        assert_eq!(answer.header("content-type"), Some("text/html"));
        assert!(answer.text().starts_with("<p>"), "{answer:?}");
    }
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

async fn p2_in_flight_and_unavailable_have_retry_after<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let request = instance.post("/hasty").key("k").effect("a");
    world
        .control
        .play([Scene::new([Act::Insert, D::doom()]), Scene::gated()]);
    let mut refused = Vec::new();
    let doomed = request.clone().key("doomed");
    refused.push((doomed.send().await, "try-again"));
    let owner = request.start();
    world.control.at_gate(1).await;
    refused.push((request.send().await, "in-flight"));
    world.control.open(1);
    owner.answer().await.assert_executed(201);
    let other = world.instance().await;
    other.pool.close().await;
    refused.push((request.to(other.address).send().await, "unavailable"));
    for (refused, problem) in refused {
        refused.assert_problem(problem);
        assert_eq!(refused.lines("retry-after"), [b"1"], "{problem}");
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

async fn p1_missing_tables_are_misconfigured<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    world.run(format!("DROP TABLE {}", D::RECORDS)).await;
    request.send().await.assert_problem("misconfigured");
    assert_eq!(world.control.entries(), 0);
}
