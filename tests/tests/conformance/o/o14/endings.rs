//! Every misuse of the transaction, with every way in which a handler can end.

use idem_tests::{Act, Database, Framework, Instance, Reply, Scene, World, conformance};

conformance![
    o14_own_commit_is_found_out_at_every_end,
    o14_write_after_the_own_commit_is_found_out_at_every_end,
    o14_own_rollback_is_found_out_at_every_end,
    o14_write_after_the_own_rollback_is_found_out_at_every_end,
    o14_second_transaction_after_a_commit_keeps_nothing_at_every_end,
    o14_second_transaction_after_a_rollback_keeps_nothing_at_every_end,
    o14_failed_nested_begin_is_found_out_at_every_end,
    o14_cancelled_nested_begin_is_found_out_at_every_end,
    k6_own_commit_is_found_out_without_a_key,
];

/// How a handler ends after its misuse.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Answers(u16),
    Panics,
    PassesItsDeadline,
}

const ENDS: [End; 5] = [
    End::Answers(201),
    End::Answers(422),
    End::Answers(500),
    End::Panics,
    End::PassesItsDeadline,
];

impl End {
    fn after(self, acts: &[Act]) -> Scene {
        let scene = Scene::new(acts.to_vec());
        match self {
            Self::Answers(status) => scene.answer(Reply::new(status)),
            Self::Panics => scene.then(Act::Panic),
            Self::PassesItsDeadline => scene.then(Act::Hang),
        }
    }
}

/// Plays the misuse with every end, each for another tenant.
pub(crate) async fn at_every_end<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    acts: &[Act],
    check: impl AsyncFn(&Instance<D>, End, &str),
) {
    let instance = world.instance().await;
    for (number, end) in ENDS.into_iter().enumerate() {
        println!("{end:?}");
        world.control.play([end.after(acts)]);
        check(&instance, end, &format!("tenant-{number}")).await;
    }
}

/// At every end the answer is a failure, which is final for the key.
pub(crate) async fn is_final_at_every_end<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    acts: &[Act],
    effects: i64,
) {
    let check = async |instance: &Instance<D>, _, tenant: &str| {
        let request = instance
            .post("/bounded")
            .key("k")
            .effect("a")
            .tenant(tenant);
        let first = request.send().await;
        first.assert_problem("transaction-lost");
        first.assert_retryable(false);
        assert_eq!(world.effects(tenant).await, effects);
        let entries = world.control.entries();
        let retry = request.send().await;
        assert_eq!((retry.status, &retry.body), (first.status, &first.body));
        assert_eq!(world.control.entries(), entries, "it ran again");
        assert_eq!(world.effects(tenant).await, effects);
    };
    at_every_end(world, acts, check).await;
}

async fn o14_own_commit_is_found_out_at_every_end<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    is_final_at_every_end(world, &[Act::Insert, Act::run("COMMIT")], 1).await;
}

async fn o14_write_after_the_own_commit_is_found_out_at_every_end<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let effects = 1 + i64::from(D::AUTOCOMMITS);
    let acts = [Act::Insert, Act::run("COMMIT"), Act::Insert];
    is_final_at_every_end(world, &acts, effects).await;
}

async fn o14_own_rollback_is_found_out_at_every_end<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    is_final_at_every_end(world, &[Act::Insert, Act::run("ROLLBACK")], 0).await;
}

async fn o14_write_after_the_own_rollback_is_found_out_at_every_end<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let acts = [Act::Insert, Act::run("ROLLBACK"), Act::Insert];
    is_final_at_every_end(world, &acts, i64::from(D::AUTOCOMMITS)).await;
}

async fn o14_second_transaction_after_a_commit_keeps_nothing_at_every_end<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let (commit, begin) = (Act::run("COMMIT"), Act::run("BEGIN"));
    is_final_at_every_end(world, &[Act::Insert, commit, begin, Act::Insert], 1).await;
}

async fn o14_second_transaction_after_a_rollback_keeps_nothing_at_every_end<
    F: Framework<D>,
    D: Database,
>(
    world: &World<F, D>,
) {
    let (rollback, begin) = (Act::run("ROLLBACK"), Act::run("BEGIN"));
    is_final_at_every_end(world, &[Act::Insert, rollback, begin, Act::Insert], 0).await;
}

async fn o14_failed_nested_begin_is_found_out_at_every_end<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let acts = [Act::Insert, Act::FailedBegin, Act::Insert];
    is_final_at_every_end(world, &acts, i64::from(D::AUTOCOMMITS)).await;
}

/// Where the database has already begun when the handler stops waiting, nothing is lost.
async fn o14_cancelled_nested_begin_is_found_out_at_every_end<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let acts = [Act::Insert, Act::CancelledBegin, Act::Insert];
    let check = async |instance: &Instance<D>, _, tenant: &str| {
        let request = instance
            .post("/bounded")
            .key("k")
            .effect("a")
            .tenant(tenant);
        let first = request.send().await;
        let effects = world.effects(tenant).await;
        if first.status == 201 {
            assert_eq!(effects, 2, "both inserts of the one attempt");
        } else {
            assert!(effects < 2, "half of the attempt was kept with a record");
        }
        let entries = world.control.entries();
        let retry = request.send().await;
        if effects > 0 {
            assert_eq!((retry.status, &retry.body), (first.status, &first.body));
            assert_eq!(world.control.entries(), entries, "it ran again");
        }
        if world.control.entries() > entries {
            assert!(
                first.status >= 500,
                "{} was not to be retried",
                first.status
            );
            retry.assert_executed(201);
        }
    };
    at_every_end(world, &acts, check).await;
}

async fn k6_own_commit_is_found_out_without_a_key<F: Framework<D>, D: Database>(
    world: &World<F, D>,
) {
    let request = world.instance().await.post("/optional").effect("a");
    for status in [201, 422, 500] {
        let scene = Scene::new([Act::Insert, Act::run("COMMIT")]);
        world.control.play([scene.answer(Reply::new(status))]);
        let answer = request.send().await;
        answer.assert_problem("transaction-lost");
        answer.assert_retryable(false);
    }
    assert_eq!(world.effects("acme").await, 3);
    assert_eq!(world.records().await, 0);
}
