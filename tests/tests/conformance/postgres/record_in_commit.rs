//! Records that are sent in COMMIT's message.

use idem_tests::{Act, Cut, Framework, RecordInCommit, Reply, Scene, World, conformance};

use crate::o::wire::wired;

conformance![
    on RecordInCommit:
    o8_commit_that_fails_keeps_no_record,
    o8_error_at_commit_is_not_mistaken_for_one_of_the_record,
    o9_commit_whose_answer_is_lost_is_a_replay,
    r3_body_of_any_bytes_is_replayed,
];

async fn o8_commit_that_fails_keeps_no_record<F: Framework<RecordInCommit>>(
    world: &World<F, RecordInCommit>,
) {
    let request = world.instance().await.post("/effects").key("k").effect("a");
    let orphan = Act::run("INSERT INTO children (name) VALUES ('orphan')");
    let scene = Scene::new([Act::Insert, orphan, Act::AfterCommit]);
    world.control.play([scene]);
    request.send().await.assert_problem("try-again");
    assert_eq!((world.effects("acme").await, world.records().await), (0, 0));
    let retry = request.send().await;
    retry.assert_executed(201);
    request.send().await.assert_replays(&retry);
    assert_eq!(world.effects("acme").await, 1);
    assert_eq!(world.control.commits(), 0);
}

/// Errors of the application's deferred constraints arrive in the same message as those of the record.
async fn o8_error_at_commit_is_not_mistaken_for_one_of_the_record<F: Framework<RecordInCommit>>(
    world: &World<F, RecordInCommit>,
) {
    let instance = world.instance().await;
    for (number, code) in ["23502", "23505"].into_iter().enumerate() {
        world
            .run(format_args!(
                "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN \
                 RAISE EXCEPTION ''trouble'' USING ERRCODE = ''{code}'', SCHEMA = ''public''; END'; \
                 DROP TRIGGER IF EXISTS refuses ON effects; \
                 CREATE CONSTRAINT TRIGGER refuses AFTER INSERT ON effects \
                 DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse()"
            ))
            .await;
        let request = instance.post("/effects").key(code).effect("a");
        request.send().await.assert_problem("try-again");
        assert_eq!(
            world.records().await,
            i64::try_from(number).expect("a number")
        );
        world.run("DROP TRIGGER refuses ON effects").await;
        request.send().await.assert_executed(201);
    }
}

/// The record's times were in the lost answer, so the attempt can't know whether the record is its own.
async fn o9_commit_whose_answer_is_lost_is_a_replay<F: Framework<RecordInCommit>>(
    world: &World<F, RecordInCommit>,
) {
    let (wire, instance) = wired(world).await;
    let request = instance.post("/effects").key("k").effect("a");
    world
        .control
        .play([Scene::new([Act::Insert, Act::AfterCommit])]);
    wire.cut(Cut::After);
    let first = request.send().await;
    assert_eq!(wire.cuts(), 1);
    assert_eq!(first.status, 201, "{}", first.text());
    assert!(first.is_replay());
    request.send().await.assert_replays(&first);
    assert_eq!(world.effects("acme").await, 1);
    assert_eq!(world.control.entries(), 1);
    assert_eq!(world.control.commits(), 0);
}

async fn r3_body_of_any_bytes_is_replayed<F: Framework<RecordInCommit>>(
    world: &World<F, RecordInCommit>,
) {
    world
        .database
        .set("standard_conforming_strings = off")
        .await;
    world.database.set("bytea_output = escape").await;
    let request = world.instance().await.post("/effects").effect("a");
    let all: Vec<u8> = (0..=255).collect();
    let bodies = [all, b"'; DROP TABLE effects; --\\'".to_vec(), Vec::new()];
    for (number, body) in bodies.iter().enumerate() {
        world
            .control
            .play([Scene::answering(Reply::bytes(200, body))]);
        let request = request.clone().key(format!("key-{number}"));
        let first = request.send().await;
        first.assert_executed(200);
        request.send().await.assert_replays(&first);
    }
}
