//! S: scope and operation.

use std::collections::BTreeSet;

use idem_core::Config;

use crate::place;
use crate::service::Framework;
use crate::world::{World, conformance};

conformance![
    s1_s4_identities_that_look_alike_are_different,
    s1_s2_endpoint_without_an_operation_or_a_scope_is_misconfigured,
    s2_s3_s4_s5_scope_namespace_and_prefix_divide_what_is_shared,
];

async fn s1_s4_identities_that_look_alike_are_different<F: Framework>(world: &World<F>) {
    let instance = world.instance().await;
    let of = |path: &str, tenant: &str, key: &str| {
        instance.post(path).tenant(tenant).key(key).effect("a")
    };
    let mut requests = vec![
        of("/accounts/7/effects", "abc", "k"),
        of("/patient", "abc", "k"),
        of("/named/7", "abc", "k"),
        instance
            .request("PUT", "/effects")
            .tenant("abc")
            .key("k")
            .effect("a"),
    ];
    for tenant in [
        "abc",
        "ABC",
        "abc%20",
        "a%cc%81bc",
        "%c3%a1bc",
        "0",
        "00",
        "%00",
    ] {
        requests.push(of("/effects", tenant, "k"));
    }
    for key in ["K", "abc%20", "abc_", "0", "00", "1e0", "1"] {
        requests.push(of("/effects", "abc", key));
    }
    for (tenant, key) in [
        ("a", "bc"),
        ("ab", "c"),
        ("a:b", "c"),
        ("a", "b:c"),
        ("a%00", "bc"),
    ] {
        requests.push(of("/effects", tenant, key));
    }
    let mut bodies = BTreeSet::new();
    for request in &requests {
        let first = request.send().await;
        first.assert_executed(201);
        request.send().await.assert_replays(&first);
        bodies.insert(first.text());
    }
    assert_eq!(bodies.len(), requests.len());
    assert_eq!(world.keys().await.len(), requests.len());
    // A parameter is no part of the operation, and is bound.
    for (path, first) in [
        ("/accounts/8/effects", &requests[0]),
        ("/named/8", &requests[2]),
    ] {
        of(path, "abc", "k")
            .send()
            .await
            .assert_problem("key-reused");
        assert!(first.send().await.is_replay());
    }
}

async fn s1_s2_endpoint_without_an_operation_or_a_scope_is_misconfigured<F: Framework>(
    world: &World<F>,
) {
    let instance = world.instance().await;
    for request in [
        instance.post("/no/such/route"),
        instance.request("GET", "/effects"),
        instance.post("/effects").tenant(""),
        instance.post("/optional").tenant(""),
    ] {
        let answer = request.key("k").effect("a").send().await;
        answer.assert_problem_of_steps("misconfigured");
    }
    for target in ["/effects", "/keyed-path/8e03"] {
        let head = instance.request("HEAD", target).key("k").send().await;
        assert_eq!(head.status, 500);
    }
    assert_eq!((world.control.entries(), world.keys().await.len()), (0, 0));
    // A GET has its key in an argument.
    let get = instance.request("GET", "/keyed-path/8e03");
    let first = get.send().await;
    first.assert_executed(201);
    get.send().await.assert_replays(&first);
}

async fn s2_s3_s4_s5_scope_namespace_and_prefix_divide_what_is_shared<F: Framework>(
    world: &World<F>,
) {
    let instance = world.instance().await;
    let namespace = |name| world.configured(Config::new().with_namespace(name));
    let (billing, shop) = (namespace("billing").await, namespace("shop").await);
    let elsewhere = world.with(&place::store().await, Config::new());
    let mut answers = Vec::new();
    for (label, instance) in [
        ("a", &instance),
        ("b", &billing),
        ("c", &shop),
        ("d", &elsewhere),
    ] {
        let request = instance.post("/effects").key("k").effect(label);
        let answer = request.send().await;
        answer.assert_executed(201);
        answers.push((request, answer));
    }
    assert_eq!(world.keys().await.len(), 3, "one has another prefix");
    let visits = world.control.visits();
    let downstream: BTreeSet<_> = visits.iter().flat_map(|visit| &visit.downstream).collect();
    assert_eq!(
        downstream.len(),
        6,
        "two services for each of three namespaces"
    );
    let erased = billing.engine.erase(Some("acme")).await;
    assert_eq!(erased.expect("erases"), 1);
    for (number, (request, answer)) in answers.iter().enumerate() {
        let again = request.send().await;
        if number == 1 {
            again.assert_executed(201);
        } else {
            again.assert_replays(answer);
        }
    }
    // The extractors of a replay can reject it.
    let stranger = answers[0].0.clone().without("x-tenant").send().await;
    assert_eq!(
        (stranger.status, &*stranger.text()),
        (401, "send `x-tenant`")
    );
    let unscoped = instance.post("/unscoped").key("k").effect("a");
    let first = unscoped.send().await;
    first.assert_executed(201);
    unscoped
        .tenant("globex")
        .send()
        .await
        .assert_replays(&first);
    assert_eq!(world.control.visits().last().expect("visits").scope, None);
}
