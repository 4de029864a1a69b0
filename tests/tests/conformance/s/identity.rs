//! Scope and operation.

use std::collections::BTreeSet;

use idem_core::Config;
use idem_tests::{Database, Deploy, Framework, Scene, World, conformance};

conformance![
    s1_key_is_another_one_under_another_scope,
    s1_key_is_another_one_under_another_operation,
    s1_parameter_renamed_in_a_deploy_changes_no_identity,
    s1_named_operation_survives_another_template,
    s1_request_without_template_or_name_is_misconfigured,
    s1_read_only_route_is_misconfigured,
    s1_get_is_let_in_with_its_key_in_an_argument,
    s2_empty_scope_is_misconfigured,
    s2_unscoped_endpoint_shares_its_keys,
    s3_extractors_run_before_a_replay,
    s4_look_alike_scopes_are_different,
    s4_look_alike_keys_are_different,
    s4_concatenations_are_different,
    s4_key_in_flight_does_not_cross_its_scope,
    s5_services_with_a_namespace_each_share_nothing,
];

async fn s1_key_is_another_one_under_another_scope<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let acme = request.send().await;
    acme.assert_executed(201);
    let other = request.clone().tenant("globex");
    let globex = other.send().await;
    globex.assert_executed(201);
    request.send().await.assert_replays(&acme);
    other.send().await.assert_replays(&globex);
    assert_eq!(world.effects("acme").await, 1);
    assert_eq!(world.effects("globex").await, 1);
}

async fn s1_key_is_another_one_under_another_operation<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    for (method, path) in [
        ("POST", "/effects"),
        ("PUT", "/effects"),
        ("DELETE", "/effects"),
        ("POST", "/patient"),
        ("POST", "/nested/effects/effects"),
    ] {
        let request = instance.request(method, path).key("k").effect("a");
        request.send().await.assert_executed(201);
    }
    assert_eq!(world.records().await, 5);
}

async fn s1_parameter_renamed_in_a_deploy_changes_no_identity<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let before = world.deployed(Deploy::First).await;
    let after = world.deployed(Deploy::Second).await;
    let request = before.post("/accounts/7/effects").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    let replay = request.to(after.address).send().await;
    replay.assert_replays(&first);
}

async fn s1_named_operation_survives_another_template<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let before = world.deployed(Deploy::First).await;
    let after = world.deployed(Deploy::Second).await;
    let request = before.post("/named/7").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    let replay = request.clone().to(after.address).send().await;
    replay.assert_replays(&first);
    // Another place for the same operation is the same identity, and another request.
    let moved = after.post("/moved/7").key("k").effect("a");
    moved.send().await.assert_problem("key-reused");
}

async fn s1_request_without_template_or_name_is_misconfigured<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    let request = instance.post("/no/such/route").key("k").effect("a");
    request.send().await.assert_problem("misconfigured");
    assert_eq!(world.control.entries(), 0);
}

async fn s1_read_only_route_is_misconfigured<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    let request = instance.request("GET", "/effects").key("k").effect("a");
    request.send().await.assert_problem("misconfigured");
    let request = instance.request("HEAD", "/effects").key("k");
    assert_eq!(request.send().await.status, 500);
    assert_eq!(world.control.entries(), 0);
}

async fn s1_get_is_let_in_with_its_key_in_an_argument<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    for target in ["/keyed-path/8e03", "/keyed-query?token=7"] {
        let first = instance.request("GET", target).send().await;
        first.assert_executed(201);
        let again = instance.request("GET", target).send().await;
        again.assert_replays(&first);
        let head = instance.request("HEAD", target).send().await;
        assert_eq!(head.status, 500);
    }
    assert_eq!(world.control.entries(), 2);
}

async fn s2_empty_scope_is_misconfigured<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let instance = world.instance().await;
    for path in ["/effects", "/optional"] {
        let request = instance.post(path).tenant("").key("k").effect("a");
        request.send().await.assert_problem("misconfigured");
    }
    assert_eq!(world.control.entries(), 0);
}

async fn s2_unscoped_endpoint_shares_its_keys<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/unscoped").key("k");
    let request = request.effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    let replay = request.tenant("globex").send().await;
    replay.assert_replays(&first);
    assert_eq!(world.control.visits()[0].scope, None);
}

async fn s3_extractors_run_before_a_replay<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    let stranger = request.clone().without("x-tenant").send().await;
    assert_eq!(stranger.status, 401);
    assert_eq!(stranger.text(), "send `x-tenant`");
    request.send().await.assert_replays(&first);
    assert_eq!(world.control.extractions(), 3);
}

async fn s4_look_alike_scopes_are_different<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let tenants = [
        "abc",
        "ABC",
        "abc%20",
        "%20abc",
        "abc%09",
        "%c3%a1bc",
        "a%cc%81bc",
        "ab%c3%9f",
        "abss",
        "%ef%bd%81bc",
        "abc%e2%80%8b",
        "0",
        "00",
        "+0",
        "%00",
    ];
    // PostgreSQL has no NUL in a text, so nothing is inserted.
    world.control.play(tenants.map(|_| Scene::new([])));
    for tenant in tenants {
        let request = request.clone().tenant(tenant);
        request.send().await.assert_executed(201);
    }
}

async fn s4_look_alike_keys_are_different<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").effect("a");
    for key in ["abc", "ABC", "aBc", "abc%20", "abc_", "0", "00", "1e0", "1"] {
        request.clone().key(key).send().await.assert_executed(201);
    }
}

async fn s4_concatenations_are_different<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let request = world.instance().await.post("/effects").effect("a");
    let pairs = [
        ("a", "bc"),
        ("ab", "c"),
        ("a:b", "c"),
        ("a", "b:c"),
        ("a%00b", "c"),
        ("a%00", "bc"),
        ("a%7cPOST /effects%7cb", "c"),
        ("a", "POST/effects|b"),
    ];
    world.control.play(pairs.map(|_| Scene::new([])));
    for (tenant, key) in pairs {
        let request = request.clone().tenant(tenant).key(key);
        request.send().await.assert_executed(201);
    }
}

async fn s4_key_in_flight_does_not_cross_its_scope<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let instance = world.instance().await;
    world.control.play([Scene::gated()]);
    let request = instance.post("/hasty").key("k").effect("a");
    let first = request.start();
    world.control.entered(1).await;
    let other = request.clone().tenant("globex").effect("other").start();
    if D::ONE_WRITER {
        world.control.extracted(2).await;
        world.control.open(1);
        other.answer().await.assert_executed(201);
    } else {
        other.answer().await.assert_executed(201);
        world.control.open(1);
    }
    first.answer().await.assert_executed(201);
}

async fn s5_services_with_a_namespace_each_share_nothing<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let unnamed = world.instance().await;
    let billing = world.configured(Config::new().with_namespace("billing"));
    let shop = world.configured(Config::new().with_namespace("shop"));
    let (billing, shop) = (billing.await, shop.await);
    let mut answers = Vec::new();
    for (label, instance) in [("a", &unnamed), ("b", &billing), ("c", &shop)] {
        let request = instance.post("/effects").key("k").effect(label);
        let answer = request.send().await;
        answer.assert_executed(201);
        answers.push((request, answer));
    }
    let visits = world.control.visits();
    let downstream: BTreeSet<_> = visits.iter().flat_map(|v| v.downstream.clone()).collect();
    assert_eq!(
        downstream.len(),
        6,
        "two services for each of three: {downstream:?}"
    );
    assert_eq!(billing.engine.erase(Some("acme")).await.expect("erases"), 1);
    let (request, answer) = &answers[0];
    request.send().await.assert_replays(answer);
    let (request, answer) = &answers[2];
    request.send().await.assert_replays(answer);
    answers[1].0.send().await.assert_executed(201);
    assert_eq!(world.records().await, 3);
}
