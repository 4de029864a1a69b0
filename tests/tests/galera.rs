//! The contract on a Galera cluster, where every instance uses another node. A lock is known on one node only:
//! duplicates on other nodes run, and all except one are undone when they commit.
//!
//! `cargo xtask test --galera` starts a cluster and runs this.

use std::sync::Arc;
use std::time::Duration;

use idem_tests::{
    Act, Answer, Database as _, Framework, Galera, Instance, Reply, Request, Scene, World, answers,
    conformance,
};
use tokio::sync::RwLock;
use tokio::time::sleep;

conformance![on Galera:
    c1_duplicates_on_different_nodes_have_one_effect,
    c1_duplicates_that_meet_at_commit_have_one_effect,
    c1_final_failure_and_success_that_meet_at_commit_agree,
    c3_retries_of_a_failure_on_different_nodes_have_one_effect,
    r6_replay_works_from_every_node,
    e2_expired_record_runs_once_on_different_nodes,
    e3_purges_and_erasures_on_different_nodes_agree,
    o14_own_commit_is_the_last_word_on_every_node,
    o9_node_that_is_cut_off_at_commit_has_no_second_effect,
    t2_rides_on_different_nodes_have_one_effect_of_each_step,
    t5_step_that_meets_a_takeover_on_another_node_has_one_effect,
];

/// Held for reading by a test that counts on its nodes, for writing by one that isolates a node.
static CLUSTER: RwLock<()> = RwLock::const_new(());

const NODES: usize = 3;

async fn instances<F: Framework<Galera>>(world: &World<F, Galera>) -> Vec<Arc<Instance<Galera>>> {
    let mut instances = Vec::new();
    for _ in 0..NODES {
        instances.push(world.instance().await);
    }
    instances
}

/// The request on every node.
fn everywhere(request: &Request, instances: &[Arc<Instance<Galera>>]) -> Vec<Request> {
    let on = |instance: &Arc<Instance<Galera>>| request.clone().to(instance.address);
    instances.iter().map(on).collect()
}

/// Retries as a client does, until a request is answered with a success.
async fn persist(request: &Request) -> Answer {
    for _ in 0..200 {
        let answer = request.send().await;
        if answer.status < 400 {
            return answer;
        }
        assert!(
            matches!(answer.status, 409 | 500 | 503),
            "{} {}",
            answer.status,
            answer.text()
        );
        sleep(Duration::from_millis(50)).await;
    }
    panic!("never answered");
}

/// How many effects a tenant has, once this node knows what the others have committed.
async fn effects<F: Framework<Galera>>(world: &World<F, Galera>, tenant: &str) -> i64 {
    causal(
        world,
        &format!("SELECT COUNT(*) FROM effects WHERE tenant = '{tenant}'"),
    )
    .await
}

async fn causal<F: Framework<Galera>>(world: &World<F, Galera>, query: &str) -> i64 {
    let mut connection = world.observe().await;
    number(&mut connection, query).await
}

async fn number(connection: &mut sqlx::MySqlConnection, query: &str) -> i64 {
    use idem_tests::Domain as _;
    let waits = connection.run("SET SESSION wsrep_sync_wait = 1").await;
    waits.expect("a node of a cluster");
    connection.number(query).await.expect("a number")
}

/// Every node gives the same answer.
async fn have_one_answer(requests: &[Request]) {
    let mut bodies = Vec::new();
    for request in requests {
        bodies.push(persist(request).await.body);
    }
    assert!(bodies.iter().all(|body| *body == bodies[0]), "{bodies:?}");
}

/// One effect, and the same answer from every node.
async fn has_one_effect<F: Framework<Galera>>(
    world: &World<F, Galera>,
    requests: &[Request],
    tenant: &str,
) {
    have_one_answer(requests).await;
    assert_eq!(effects(world, tenant).await, 1);
}

async fn c1_duplicates_on_different_nodes_have_one_effect<F: Framework<Galera>>(
    world: &World<F, Galera>,
) {
    let _whole = CLUSTER.read().await;
    let instances = instances(world).await;
    for number in 0..20 {
        let tenant = format!("tenant-{number}");
        let request = instances[0].post("/effects").key("k").effect("a");
        let requests = everywhere(&request.tenant(&tenant), &instances);
        let pending = (0..4).flat_map(|_| requests.iter().map(Request::start));
        let pending = pending.collect();
        assert_none_is_final(&answers(pending).await);
        has_one_effect(world, &requests, &tenant).await;
    }
}

/// Every node's handler has written before any of them commits.
async fn meet_at_commit<F: Framework<Galera>>(
    world: &World<F, Galera>,
    requests: &[Request],
    scenes: Vec<Scene>,
) -> Vec<Answer> {
    world.control.play(scenes);
    let pending: Vec<_> = requests.iter().map(Request::start).collect();
    world.control.at_gate(requests.len()).await;
    world.control.open(requests.len());
    let answers = answers(pending).await;
    assert_none_is_final(&answers);
    answers
}

/// A node that loses against another one may be tried again.
fn assert_none_is_final(answers: &[Answer]) {
    for answer in answers {
        let (status, text) = (answer.status, answer.text());
        assert!(
            matches!(status, 201 | 409 | 422 | 500 | 503),
            "{status} {text}"
        );
        assert!(!text.contains("transaction-lost"), "{status} {text}");
    }
}

async fn c1_duplicates_that_meet_at_commit_have_one_effect<F: Framework<Galera>>(
    world: &World<F, Galera>,
) {
    let _whole = CLUSTER.read().await;
    let instances = instances(world).await;
    let request = instances[0].post("/patient").key("k").effect("a");
    let requests = everywhere(&request, &instances);
    let scenes = vec![Scene::gated(); NODES];
    let answers = meet_at_commit(world, &requests, scenes).await;
    assert_eq!(world.control.entries(), NODES, "no lock is shared");
    let succeeded = answers.iter().filter(|answer| answer.status == 201);
    assert!(succeeded.count() >= 1, "one of them has won");
    has_one_effect(world, &requests, "acme").await;
}

async fn c1_final_failure_and_success_that_meet_at_commit_agree<F: Framework<Galera>>(
    world: &World<F, Galera>,
) {
    let _whole = CLUSTER.read().await;
    let instances = instances(world).await;
    let request = instances[0].post("/patient").key("k").effect("a");
    let requests = everywhere(&request, &instances[..2]);
    let scenes = vec![Scene::gated(), Scene::gated().answer(Reply::new(422))];
    meet_at_commit(world, &requests, scenes).await;
    let mut statuses = Vec::new();
    for request in &requests {
        let mut answer = request.send().await;
        while !matches!(answer.status, 201 | 422) {
            sleep(Duration::from_millis(50)).await;
            answer = request.send().await;
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses[0], statuses[1], "one record");
    assert_eq!(effects(world, "acme").await, i64::from(statuses[0] == 201));
}

async fn c3_retries_of_a_failure_on_different_nodes_have_one_effect<F: Framework<Galera>>(
    world: &World<F, Galera>,
) {
    let _whole = CLUSTER.read().await;
    let instances = instances(world).await;
    let request = instances[0].post("/patient").key("k").effect("a");
    world.control.play([Scene::answering(Reply::new(500))]);
    request.send().await.assert_executed(500);
    let mut connection = instances[1].pool.acquire().await.expect("a connection");
    assert_eq!(
        number(&mut connection, "SELECT COUNT(*) FROM idem_records").await,
        1
    );
    drop(connection);
    let requests = everywhere(&request, &instances[..2]);
    let scenes = vec![Scene::gated(); 2];
    meet_at_commit(world, &requests, scenes).await;
    has_one_effect(world, &requests, "acme").await;
}

async fn r6_replay_works_from_every_node<F: Framework<Galera>>(world: &World<F, Galera>) {
    let _whole = CLUSTER.read().await;
    let instances = instances(world).await;
    let request = instances[0].post("/effects").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    for request in everywhere(&request, &instances) {
        // A node that does not know of the record yet runs the handler, and undoes it.
        let answer = persist(&request).await;
        answer.assert_replays(&first);
    }
    assert_eq!(effects(world, "acme").await, 1);
}

async fn e2_expired_record_runs_once_on_different_nodes<F: Framework<Galera>>(
    world: &World<F, Galera>,
) {
    let _whole = CLUSTER.read().await;
    let instances = instances(world).await;
    let request = instances[0].post("/patient").key("k").effect("a");
    request.send().await.assert_executed(201);
    assert_eq!(causal(world, "SELECT COUNT(*) FROM idem_records").await, 1);
    world.expire().await;
    for instance in &instances {
        let mut connection = instance.pool.acquire().await.expect("a connection");
        let expired = format!(
            "SELECT COUNT(*) FROM idem_records WHERE expires_at < {}",
            Galera::NOW
        );
        assert_eq!(number(&mut connection, &expired).await, 1);
    }
    let requests = everywhere(&request, &instances);
    let scenes = vec![Scene::gated(); NODES];
    meet_at_commit(world, &requests, scenes).await;
    for request in &requests {
        persist(request).await;
    }
    assert_eq!(
        effects(world, "acme").await,
        2,
        "one before the expiry, one after it"
    );
}

async fn e3_purges_and_erasures_on_different_nodes_agree<F: Framework<Galera>>(
    world: &World<F, Galera>,
) {
    let _whole = CLUSTER.read().await;
    let instances = instances(world).await;
    let request = instances[0].post("/effects").effect("a");
    for number in 0..30 {
        let request = request.clone().key(format!("key-{number}"));
        request.send().await.assert_executed(201);
    }
    assert_eq!(causal(world, "SELECT COUNT(*) FROM idem_records").await, 30);
    world.expire().await;
    for _ in 0..10 {
        // One of two that delete the same row is undone, and tries again later.
        for instance in &instances {
            let _ = instance.engine.purge_expired().await;
        }
    }
    assert_eq!(causal(world, "SELECT COUNT(*) FROM idem_records").await, 0);
    request.clone().key("k").send().await.assert_executed(201);
    let mut erased = 0;
    for instance in &instances {
        let mut connection = instance.pool.acquire().await.expect("a connection");
        number(&mut connection, "SELECT COUNT(*) FROM idem_records").await;
        drop(connection);
        erased += instance.engine.erase(Some("acme")).await.expect("erases");
    }
    assert_eq!(erased, 1);
}

async fn o14_own_commit_is_the_last_word_on_every_node<F: Framework<Galera>>(
    world: &World<F, Galera>,
) {
    let _whole = CLUSTER.read().await;
    let instances = instances(world).await;
    let request = instances[0].post("/effects").key("k").effect("a");
    world
        .control
        .play([Scene::new([Act::Insert, Act::run("COMMIT")])]);
    request.send().await.assert_problem("transaction-lost");
    assert_eq!(effects(world, "acme").await, 1);
    for instance in &instances {
        let mut connection = instance.pool.acquire().await.expect("a connection");
        number(&mut connection, "SELECT COUNT(*) FROM idem_records").await;
        drop(connection);
        let again = request.clone().to(instance.address).send().await;
        assert_eq!(again.status, 500, "{}", again.text());
        again.assert_retryable(false);
    }
    assert_eq!(world.control.entries(), 1, "it never runs again");
    assert_eq!(effects(world, "acme").await, 1);
}

async fn o9_node_that_is_cut_off_at_commit_has_no_second_effect<F: Framework<Galera>>(
    world: &World<F, Galera>,
) {
    let _alone = CLUSTER.write().await;
    // The observer has the first node, and these have the second and the third.
    let (cut_off, other) = (world.instance().await, world.instance().await);
    let request = cut_off.post("/patient").key("k").effect("a");
    world.control.play([Scene::gated()]);
    let first = request.start();
    world.control.at_gate(1).await;
    isolate(&cut_off, true).await;
    world.control.open(1);
    let elsewhere = persist(&request.clone().to(other.address)).await;
    assert_eq!(elsewhere.status, 201);
    isolate(&cut_off, false).await;
    let first = first.answer().await;
    assert!(
        matches!(first.status, 201 | 500 | 503),
        "{} {}",
        first.status,
        first.text()
    );
    let requests = [request.clone(), request.to(other.address)];
    has_one_effect(world, &requests, "acme").await;
}

/// An instance on each node, with the tables of steps.
async fn with_steps<F: Framework<Galera>>(world: &World<F, Galera>) -> Vec<Arc<Instance<Galera>>> {
    let mut instances = vec![world.with_steps().await];
    while instances.len() < NODES {
        instances.push(world.instance().await);
    }
    // The others know the tables from here on.
    for instance in &instances {
        let mut connection = instance.pool.acquire().await.expect("a connection");
        number(&mut connection, "SELECT COUNT(*) FROM idem_runs").await;
    }
    instances
}

/// One ride and one payment, and no rest of the run.
async fn has_one_ride<F: Framework<Galera>>(
    world: &World<F, Galera>,
    requests: &[Request],
    tenant: &str,
) {
    have_one_answer(requests).await;
    assert_eq!(effects(world, tenant).await, 2, "{tenant}");
    let left = "SELECT (SELECT COUNT(*) FROM idem_runs) + (SELECT COUNT(*) FROM idem_steps)";
    assert_eq!(causal(world, left).await, 0, "{tenant}");
}

async fn t2_rides_on_different_nodes_have_one_effect_of_each_step<F: Framework<Galera>>(
    world: &World<F, Galera>,
) {
    let _whole = CLUSTER.read().await;
    let instances = with_steps(world).await;
    for number in 0..10 {
        let tenant = format!("tenant-{number}");
        let request = instances[0].post("/ride").key("k").effect("a");
        let requests = everywhere(&request.tenant(&tenant), &instances);
        let pending = (0..3).flat_map(|_| requests.iter().map(Request::start));
        assert_none_is_final(&answers(pending.collect()).await);
        has_one_ride(world, &requests, &tenant).await;
    }
}

/// The step is in its transaction until its lease is over. Its COMMIT and the takeover on another node meet.
async fn t5_step_that_meets_a_takeover_on_another_node_has_one_effect<F: Framework<Galera>>(
    world: &World<F, Galera>,
) {
    let _whole = CLUSTER.read().await;
    let instances = with_steps(world).await;
    for number in 0..5 {
        let tenant = format!("tenant-{number}");
        let request = instances[0].post("/ride").key("k").effect("a");
        let requests = everywhere(&request.tenant(&tenant), &instances[..2]);
        world.control.play([Scene::gated()]);
        let late = requests[0].start();
        world.control.at_gate(number + 1).await;
        // The lease is of one second.
        sleep(Duration::from_millis(950 + 20 * number as u64)).await;
        let second = requests[1].start();
        sleep(Duration::from_millis(40)).await;
        world.control.open(1);
        assert_none_is_final(&[late.answer().await, second.answer().await]);
        has_one_ride(world, &requests, &tenant).await;
    }
}

/// Takes a node out of its cluster, or lets it in again and waits until it has caught up.
async fn isolate(instance: &Instance<Galera>, isolated: bool) {
    use idem_tests::Domain as _;
    let mut connection = instance.pool.acquire().await.expect("a connection");
    let isolated_flag = u8::from(isolated);
    let option = format!("SET GLOBAL wsrep_provider_options = 'gmcast.isolate={isolated_flag}'");
    connection.run(&option).await.expect("a node of a cluster");
    let wanted = if isolated { "non-Primary" } else { "Primary" };
    for _ in 0..600 {
        let query = format!(
            "SELECT COUNT(*) FROM information_schema.global_status \
             WHERE variable_name = 'wsrep_cluster_status' AND variable_value = '{wanted}'"
        );
        if matches!(connection.number(&query).await, Ok(1)) {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the node does not become {wanted}");
}
