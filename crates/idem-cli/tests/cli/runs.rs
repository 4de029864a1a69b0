//! The commands on runs that requests with steps have left.

use idem_tests::{Act, Database, Framework, Reply, Scene, World, conformance};
use serde_json::{Value, json};

use crate::program::run;

conformance![
    by Axum:
    t4_uncertain_call_is_found_and_resolved_by_the_operator,
    t4_call_that_has_not_happened_is_made_by_the_next_attempt,
    t5_attempt_in_flight_is_left_alone,
    t9_t10_runs_are_erased_purged_and_forgotten_with_records,
];

const SMS: [&str; 6] = ["--scope", "acme", "--operation", "POST /sms", "--key", "k1"];

const RIDE: [&str; 6] = [
    "--scope",
    "acme",
    "--operation",
    "POST /ride",
    "--key",
    "k1",
];

fn with<'a>(identity: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [identity, more].concat()
}

fn refused(status: u16) -> Scene {
    Scene::effect().answer(Reply::bytes(status, "refused"))
}

async fn t4_uncertain_call_is_found_and_resolved_by_the_operator<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (instance, database) = (world.instance().await, &world.database);
    for command in [
        vec!["runs"],
        with(&["run"], &SMS),
        [
            &["resolve"],
            &SMS[..],
            &["--step", "sms", "--absent", "--yes"],
        ]
        .concat(),
    ] {
        let none = run(database, command[0], &command[1..]).await.exits(5);
        assert!(none.err.contains("idem migrate --steps"), "{}", none.err);
    }
    run(database, "show", &SMS).await.exits(1);
    run(database, "migrate", &[]).await.exits(0);
    run(database, "runs", &[]).await.exits(5);
    let migrated = run(database, "migrate", &["--steps", "--json"]).await;
    assert_eq!(migrated.exits(0).json()["result"]["steps"], true);
    let again = run(database, "migrate", &["--json"]).await.exits(0).json();
    assert_eq!(again["result"]["steps"], true, "the tables are there");
    let none = run(database, "runs", &[]).await.exits(0);
    assert_eq!(none.raw(), "no unfinished runs\n");

    let request = instance.post("/sms").key("k1").effect("a");
    world.control.play([refused(500), refused(503)]);
    request.send().await.assert_executed(500);
    request.send().await.assert_problem("step-uncertain");

    let listed = run(database, "runs", &[]).await.exits(0);
    let expected = "\
operation  state      attempts  steps  claimed               expires               uncertain
POST /sms  uncertain         2      1  TIME  TIME  sms
";
    assert_eq!(listed.text(), expected);
    let all = run(database, "runs", &["--limit", "1"]).await.exits(0);
    assert!(all.raw().contains("there may be more"), "{}", all.raw());
    let shown = run(database, "run", &SMS).await.exits(0);
    let expected = "\
operation     POST /sms
scope         acme
key           k1
state         uncertain: a call_once may have happened; a retry asks about it
attempts      2
claimed       TIME (AGE)
leased until  TIME (AGE)
expires       TIME (AGE)

step  kind       result     recorded
sms   call_once  uncertain  TIME
";
    assert_eq!(shown.text(), expected);
    let show = run(database, "show", &SMS).await.exits(1);
    let says = "an unfinished run, which `idem run` shows: uncertain, attempt 2 claimed ";
    assert!(show.err.contains(says), "{}", show.err);
    let find = ["--scope", "acme", "--key", "k1", "--json"];
    let found = run(database, "find", &find).await.exits(0).json();
    assert_eq!(found["result"]["records"], json!([]));
    assert_eq!(found["result"]["runs"][0]["state"], "uncertain");

    let found = ["--step", "sms", "--found", "12345678901234567890123456789"];
    let resolve = async |consent: &[&str]| {
        let arguments = [&SMS[..], &found, consent].concat();
        run(database, "resolve", &arguments).await
    };
    let without = resolve(&[]).await.exits(2);
    assert!(without.err.contains("--yes"), "{}", without.err);
    let dry = resolve(&["--dry-run"]).await.exits(0);
    let says = "the step `sms` would be resolved: the next attempt takes this result\n";
    assert_eq!(dry.raw(), says);
    for (wrong, code, says) in [
        (
            ["--step", "sms", "--found", "{", "--yes"].as_slice(),
            2,
            "not JSON",
        ),
        (
            &["--step", "mail", "--absent", "--yes"],
            1,
            "its steps are: sms",
        ),
    ] {
        let wrong = run(database, "resolve", &with(&SMS, wrong)).await;
        let wrong = wrong.exits(code);
        assert!(wrong.err.contains(says), "{}", wrong.err);
    }
    let still = run(database, "run", &with(&SMS, &["--json"])).await;
    let still = still.exits(0).json();
    assert_eq!(still["result"]["run"]["steps"][0]["uncertain"], true);
    let resolved = resolve(&["--yes", "--json"]).await.exits(0).json();
    let expected = json!({ "dry_run": false, "step": "sms", "found": true });
    assert_eq!(resolved["result"], expected);
    let again = resolve(&["--yes"]).await.exits(1);
    assert!(again.err.contains("has a result"), "{}", again.err);
    let waiting = run(database, "runs", &["--json"]).await.exits(0).json();
    assert_eq!(waiting["result"]["runs"][0]["state"], "waiting");
}

async fn t4_call_that_has_not_happened_is_made_by_the_next_attempt<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (instance, database) = (world.with_steps().await, &world.database);
    let request = instance.post("/sms").key("k1").effect("a");
    world.control.play([refused(500), refused(503)]);
    request.send().await.assert_executed(500);
    request.send().await.assert_problem("step-uncertain");
    let resolve = with(&SMS, &["--step", "sms", "--absent", "--yes"]);
    let resolved = run(database, "resolve", &resolve).await.exits(0);
    let says = "the step `sms` is resolved: the next attempt makes the call\n";
    assert_eq!(resolved.raw(), says);
    let sent = request.send().await;
    sent.assert_executed(201);
    assert_eq!(sent.text(), "3", "the third entry is the call");
    let over = run(database, "resolve", &resolve).await.exits(1);
    assert!(over.err.contains("it has a record"), "{}", over.err);
    run(database, "run", &SMS).await.exits(1);
    run(database, "show", &SMS).await.exits(0);
}

async fn t5_attempt_in_flight_is_left_alone<F: Framework<D>, D: Database>(world: &World<F, D>) {
    let (instance, database) = (world.with_steps().await, &world.database);
    let request = instance.post("/sms").key("k1").effect("a");
    world.control.play([Scene::new([Act::Wait])]);
    let first = request.start();
    world.control.at_gate(1).await;
    let runs = run(database, "runs", &["--json"]).await.exits(0).json();
    assert_eq!(runs["result"]["runs"][0]["state"], "leased");
    for consent in ["--yes", "--dry-run"] {
        let resolve = with(&SMS, &["--step", "sms", "--absent", consent]);
        let busy = run(database, "resolve", &resolve).await.exits(4);
        assert!(busy.err.contains("in flight"), "{}", busy.err);
    }
    run(database, "forget", &with(&SMS, &["--yes"]))
        .await
        .exits(4);
    world.control.open(1);
    let first = first.answer().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
}

async fn t9_t10_runs_are_erased_purged_and_forgotten_with_records<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (instance, database) = (world.with_steps().await, &world.database);
    let request = instance.post("/ride").key("k1").effect("a");
    let left = async || {
        let runs = run(database, "runs", &["--json"]).await.exits(0).json();
        let runs = runs["result"]["runs"].as_array().map(Vec::len);
        runs.expect("a list")
    };
    let fails = async || {
        world.control.play([Scene::effect(), refused(500)]);
        request.send().await.assert_executed(500);
        assert_eq!(left().await, 1);
    };

    fails().await;
    let dry = run(database, "forget", &with(&RIDE, &["--dry-run"])).await;
    let dry = dry.exits(0);
    let says = "1 run would be deleted: waiting, attempt 1 claimed ";
    assert!(dry.raw().starts_with(says), "{}", dry.raw());
    run(database, "forget", &with(&RIDE, &["--yes"]))
        .await
        .exits(0);
    assert_eq!(left().await, 0);

    fails().await;
    let erase = ["--scope", "acme", "--yes"];
    let erased = run(database, "erase", &erase).await.exits(0);
    assert_eq!(erased.raw(), "1 record deleted\n");
    assert_eq!(left().await, 0);

    fails().await;
    run(database, "purge", &[]).await.exits(0);
    assert_eq!(left().await, 1);
    let runs = D::RECORDS.replace("records", "runs");
    let expire = format!("UPDATE {runs} SET expires_at = 1, leased_until = 1");
    assert_eq!(world.run(expire).await, 1);
    let shown = run(database, "run", &with(&RIDE, &["--json"])).await;
    let shown = shown.exits(0).json();
    assert_eq!(shown["result"]["run"]["state"], "expired");
    assert_eq!(shown["error"], Value::Null);
    run(database, "purge", &[]).await.exits(0);
    assert_eq!(left().await, 0);
}
