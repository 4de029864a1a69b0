//! Records that were changed or damaged.

use idem_tests::{Database, Framework, Reply, Scene, World, conformance};

conformance![
    p1_tampered_record_is_unreadable_and_never_run_again,
    p1_tampered_state_is_unreadable_and_never_run_again,
    p1_response_of_another_record_is_unreadable,
    p1_record_of_an_unknown_version_is_unreadable,
];

pub(crate) async fn tamper<F: Framework<D>, D: Database>(world: &World<F, D>, change: &str) {
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

async fn p1_tampered_record_is_unreadable_and_never_run_again<F: Framework<D>, D: Database>(
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

/// With the state of a retriable failure, a success would run again.
async fn p1_tampered_state_is_unreadable_and_never_run_again<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    is_unreadable(world, &["state = 3".to_owned()]).await;
    let request = world.instance().await.post("/effects").effect("a");
    let request = request.key("fails");
    world.control.play([Scene::answering(Reply::new(422))]);
    let entries = world.control.entries();
    request.send().await.assert_executed(422);
    tamper(world, "state = 3").await;
    request.send().await.assert_problem("record-unreadable");
    assert_eq!(world.control.entries(), entries + 1);
}

async fn p1_record_of_an_unknown_version_is_unreadable<F: Framework<D>, D: Database>(
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

async fn p1_response_of_another_record_is_unreadable<F: Framework<D>, D: Database>(
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

/// Values that a column of one database can hold, and that this release never writes.
mod values {
    use idem_tests::{Mysql, Postgres, Sqlite};

    use super::*;

    mod sqlite {
        use super::*;

        conformance![on Sqlite: p1_value_out_of_range_is_unreadable,];

        async fn p1_value_out_of_range_is_unreadable<F: Framework<Sqlite>>(
            world: &World<F, Sqlite>,
        ) {
            let changes = [
                "status = 70000",
                "status = -1",
                "state = 4294967297",
                "attempts = 4294967297",
                "fingerprint = x'00ff'",
            ];
            is_unreadable(world, &changes.map(str::to_owned)).await;
        }
    }

    mod postgres {
        use super::*;

        conformance![on Postgres: p1_value_out_of_range_is_unreadable,];

        async fn p1_value_out_of_range_is_unreadable<F: Framework<Postgres>>(
            world: &World<F, Postgres>,
        ) {
            let changes = [
                "expires_at = 'infinity'",
                "settled_at = '-infinity'",
                "status = -1",
                "fingerprint = '\\x00ff'",
            ];
            is_unreadable(world, &changes.map(str::to_owned)).await;
        }
    }

    mod mysql {
        use super::*;

        conformance![on Mysql: p1_value_out_of_range_is_unreadable,];

        async fn p1_value_out_of_range_is_unreadable<F: Framework<Mysql>>(world: &World<F, Mysql>) {
            let changes = ["status = -1", "status = 32767", "fingerprint = x'00ff'"];
            is_unreadable(world, &changes.map(str::to_owned)).await;
        }
    }
}
