//! The commands on records that requests have left.

use std::time::Duration;

use idem_tests::{Database, Framework, Reply, Scene, World, conformance};
use serde_json::{Value, json};

use crate::program::run;

conformance![
    by Axum:
    e7_stats_show_and_find_answer_the_customer,
    e6_forget_asks_for_consent_and_leaves_an_attempt_alone,
    e3_e4_erase_and_purge_count_before_they_delete,
    s5_s6_namespace_schema_and_prefix_are_those_of_the_library,
];

const K1: [&str; 6] = [
    "--scope",
    "acme",
    "--operation",
    "POST /effects",
    "--key",
    "k1",
];

#[expect(
    clippy::too_many_lines,
    reason = "one story: what support asks about one customer"
)]
async fn e7_stats_show_and_find_answer_the_customer<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (instance, database) = (world.instance().await, &world.database);
    let request = instance.post("/effects").effect("a");
    let reply = Reply::bytes(201, "{\"id\":1}\u{1b}[2J").header("location", "/payments/1");
    world.control.play([Scene::answering(reply)]);
    request.clone().key("k1").send().await.assert_executed(201);
    for status in [500, 503] {
        world.control.play([Scene::answering(Reply::new(status))]);
        request
            .clone()
            .key("k2")
            .send()
            .await
            .assert_executed(status);
    }
    world
        .control
        .play([Scene::answering(Reply::bytes(422, b"\x00\xff"))]);
    instance
        .post("/patient")
        .key("k1")
        .effect("a")
        .send()
        .await
        .assert_executed(422);

    let show = run(database, "show", &K1).await.exits(0);
    let expected = "\
operation  POST /effects
scope      acme
key        k1
state      succeeded: the writes are kept, a retry is answered with this response
status     201 Created
attempts   1
settled    TIME (AGE)
expires    TIME (AGE)

location: /payments/1

{\"id\":1}\\u{1b}[2J
";
    assert_eq!(show.text(), expected);
    let shown = run(database, "show", &[&K1[..], &["--json"]].concat())
        .await
        .exits(0)
        .json();
    assert_eq!(shown["command"], "show");
    assert_eq!(shown["error"], Value::Null);
    let record = &shown["result"]["record"];
    for (field, value) in [
        ("operation", json!("POST /effects")),
        ("state", json!("succeeded")),
        ("status", json!(201)),
        ("attempts", json!(1)),
        ("expired", json!(false)),
    ] {
        assert_eq!(record[field], value, "{field}");
    }
    assert_eq!(
        record["response"]["headers"],
        json!([["location", "/payments/1"]])
    );
    assert_eq!(record["response"]["body"], "{\"id\":1}\u{1b}[2J");
    let body = run(database, "show", &[&K1[..], &["--body", "-"]].concat())
        .await
        .exits(0);
    assert_eq!(body.out, b"{\"id\":1}\x1b[2J");

    let find = run(database, "find", &["--scope", "acme", "--key", "\"k1\""])
        .await
        .exits(0);
    let expected = "\
operation      state         status  attempts  settled               expires
POST /effects  succeeded        201         1  TIME  TIME
POST /patient  failed_final     422         1  TIME  TIME
";
    assert_eq!(find.text(), expected);
    let found = run(
        database,
        "find",
        &["--scope", "acme", "--key", "k2", "--json"],
    )
    .await;
    let found = found.exits(0).json();
    assert_eq!(found["result"]["records"][0]["state"], "failed_retriable");
    assert_eq!(found["result"]["records"][0]["attempts"], 2);
    assert_eq!(found["result"]["records"].as_array().map(Vec::len), Some(1));

    let patient = [
        "--scope",
        "acme",
        "--operation",
        "POST /patient",
        "--key",
        "k1",
    ];
    let binary = run(database, "show", &patient).await.exits(0);
    assert!(
        binary.raw().contains("(2 B that are not text: 00ff)"),
        "{}",
        binary.raw()
    );
    let wrong = ["--unscoped", "--operation", "POST /effects", "--key", "k1"];
    let missing = run(database, "show", &wrong).await.exits(1);
    assert!(
        missing.err.contains("this scope has no records at all"),
        "{}",
        missing.err
    );
    let wrong = [
        "--scope",
        "acme",
        "--operation",
        "POST /efects",
        "--key",
        "k1",
        "--json",
    ];
    let missing = run(database, "show", &wrong).await.exits(1).json();
    assert_eq!(missing["error"]["kind"], "not_found");
    let message = missing["error"]["message"].as_str().expect("a message");
    assert!(
        message.ends_with("records of: POST /effects, POST /patient"),
        "{message}"
    );

    let stats = run(database, "stats", &[]).await.exits(0);
    let stats = stats.text();
    let lines: Vec<&str> = stats.lines().collect();
    assert_eq!(lines.len(), 6, "{stats}");
    assert!(
        lines[1].starts_with("POST /effects  succeeded               1        0         1 "),
        "{stats}"
    );
    assert!(
        lines[2].starts_with("POST /effects  failed_retriable        1        0         2 "),
        "{stats}"
    );
    assert!(lines[5].starts_with("3 records, "), "{stats}");
    let stats = run(database, "stats", &["--json", "--unscoped"])
        .await
        .exits(0)
        .json();
    assert_eq!(stats["result"]["operations"], json!([]));
}

async fn e6_forget_asks_for_consent_and_leaves_an_attempt_alone<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (instance, database) = (world.instance().await, &world.database);
    let request = instance.post("/effects").key("k1").effect("a");
    request.send().await.assert_executed(201);
    let forget = async |consent: &str| {
        let arguments = [&K1[..], &[consent]].concat();
        run(database, "forget", &arguments).await
    };
    let without = run(database, "forget", &K1).await.exits(2);
    assert!(without.err.contains("--yes"), "{}", without.err);
    let dry = forget("--dry-run").await.exits(0);
    assert!(
        dry.raw()
            .starts_with("1 record would be deleted: succeeded with 201 "),
        "{}",
        dry.raw()
    );
    assert_eq!(world.records().await, 1);
    assert_eq!(forget("--yes").await.exits(0).raw(), "1 record deleted\n");
    forget("--yes").await.exits(1);
    forget("--dry-run").await.exits(1);

    request.send().await.assert_executed(201);
    let spoil = format!("UPDATE {} SET fingerprint = {}", D::RECORDS, D::bytes("00"));
    world.run(spoil).await;
    run(database, "show", &K1).await.exits(5);
    let found = run(database, "find", &["--scope", "acme", "--key", "k1"])
        .await
        .exits(0);
    assert!(
        found.raw().contains("POST /effects  unreadable"),
        "{}",
        found.raw()
    );
    forget("--yes").await.exits(0);

    world.control.play([Scene::gated()]);
    let request = instance.post("/patient").key("k1").effect("a");
    let attempt = request.start();
    world.control.at_gate(1).await;
    let arguments = [
        "--scope",
        "acme",
        "--operation",
        "POST /patient",
        "--key",
        "k1",
        "--yes",
    ];
    let forgets = run(database, "forget", &arguments);
    let forgotten = if D::ONE_WRITER {
        let opened = async {
            tokio::time::sleep(Duration::from_secs(3)).await;
            world.control.open(1);
        };
        tokio::join!(forgets, opened).0
    } else {
        let forgotten = forgets.await;
        world.control.open(1);
        forgotten
    };
    assert!(forgotten.exits(4).err.contains("in flight"));
    let first = attempt.answer().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
}

async fn e3_e4_erase_and_purge_count_before_they_delete<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let (instance, database) = (world.instance().await, &world.database);
    let request = instance.post("/effects").effect("a");
    for key in ["k1", "k2"] {
        request.clone().key(key).send().await.assert_executed(201);
    }
    let other = request.tenant("globex").key("k1");
    other.send().await.assert_executed(201);
    run(database, "erase", &["--scope", "acme"]).await.exits(2);
    let dry = run(database, "erase", &["--scope", "acme", "--dry-run"])
        .await
        .exits(0);
    assert_eq!(dry.raw(), "2 records would be deleted\n");
    assert_eq!(world.records().await, 3);
    let erased = run(database, "erase", &["--scope", "acme", "--yes", "--json"]).await;
    let erased = erased.exits(0).json();
    assert_eq!(erased["result"], json!({ "dry_run": false, "records": 2 }));
    assert_eq!(world.records().await, 1);
    assert_eq!(
        run(database, "purge", &[]).await.exits(0).raw(),
        "0 records deleted\n"
    );
    world.expire().await;
    let dry = run(database, "purge", &["--dry-run"]).await.exits(0);
    assert_eq!(dry.raw(), "1 record would be deleted\n");
    let stats = run(database, "stats", &[]).await.exits(0);
    assert!(
        stats
            .raw()
            .contains("; 1 expired and not purged, the oldest for "),
        "{}",
        stats.raw()
    );
    assert_eq!(
        run(database, "purge", &[]).await.exits(0).raw(),
        "1 record deleted\n"
    );
    assert_eq!(world.records().await, 0);
}

async fn s5_s6_namespace_schema_and_prefix_are_those_of_the_library<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let (instance, database) = (world.instance().await, &world.database);
    let request = instance.post("/effects").key("k1").effect("a");
    request.send().await.assert_executed(201);
    run(
        database,
        "show",
        &[&K1[..], &["--namespace", "other"]].concat(),
    )
    .await
    .exits(1);
    let mut places = ["--schema", "--table-prefix"];
    if !database.url().starts_with("postgres") {
        places.reverse();
    }
    let [its, not_its] = places;
    run(database, "stats", &[not_its, "other"]).await.exits(2);
    run(database, "stats", &[its, "No"]).await.exits(2);
    run(database, "check", &[its, "other"]).await.exits(5);
    run(database, "stats", &[its, "other"]).await.exits(5);
    run(database, "migrate", &[its, "other"]).await.exits(0);
    run(database, "check", &[its, "other"]).await.exits(0);
    let stats = run(database, "stats", &[its, "other"]).await.exits(0);
    assert_eq!(stats.raw(), "0 records, 0 B of responses\n");
    run(database, "show", &[&K1[..], &[its, "other"]].concat())
        .await
        .exits(1);
}
