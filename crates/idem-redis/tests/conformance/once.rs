//! N: without HTTP.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use idem_core::once::{Error, Failure, Key, Once, Policy};
use idem_core::{Attempt, Problem, Steps};
use idem_redis::Redis;
use idem_tests::{Act, Failed, Reply, RideError, Scene};

use crate::service::Framework;
use crate::world::{Instance, World, conformance};

conformance![
    n1_n2_n3_n5_t7_call_goes_on_after_its_last_step,
    n4_request_and_call_never_answer_for_each_other,
    n6_t1_call_that_is_dropped_holds_its_key_until_the_end_of_its_lease,
];

const HOUR: Duration = Duration::from_hours(1);

/// The operation of the endpoint `/named/{id}`.
static WORK: Policy = Policy::new("named_effect", HOUR)
    .with_lease(Duration::from_secs(1))
    .with_wait(Duration::from_secs(20));

type Answer<V> = Result<Once<V>, Error<RideError, u16>>;

/// One call of the tenant `acme`. Its closure plays the next scene; the value is the number of the attempt.
async fn call<F: Framework>(world: &World<F>, instance: &Instance, label: &str) -> Answer<u32> {
    let app = world.app(instance.engine.clone());
    let work = async |steps: &mut Steps<Redis>, attempt: &Attempt| {
        let reply = app.play(steps, attempt, label).await?;
        match reply.status {
            ..400 => Ok(attempt.number()),
            422 => Err(Failure::Final(422)),
            _ => Err(Failure::Again(RideError::Failed(Failed(reply)))),
        }
    };
    let key = Key::new("acme", "k");
    instance.engine.once(&WORK, key, label, work).await
}

async fn n1_n2_n3_n5_t7_call_goes_on_after_its_last_step<F: Framework>(world: &World<F>) {
    let (one, other) = (world.instance().await, world.instance().await);
    let fails = Scene::answering(Reply::new(500));
    world
        .control
        .play([fails, Scene::new([Act::Insert, Act::Panic])]);
    let first = call(world, &one, "a").await;
    assert!(matches!(first, Err(Error::Again(_))), "{first:?}");
    let panicked = call(world, &other, "a").await;
    let problem = panicked.expect_err("it panicked").problem();
    assert_eq!(problem, Some(Problem::HandlerPanicked));
    let another = call(world, &other, "b").await;
    assert!(matches!(another, Err(Error::KeyReused)), "{another:?}");
    let third = call(world, &one, "a").await;
    assert!(matches!(third, Ok(Once::Fresh(3))), "{third:?}");
    for instance in [&one, &other] {
        let again = call(world, instance, "a").await;
        assert!(matches!(again, Ok(Once::Replayed(3))), "{again:?}");
    }
    assert_eq!((world.effects(), world.provider.calls()), (1, 1));
    let of_another_type =
        async |_: &mut Steps<Redis>, _: &Attempt| -> Result<String, Failure<RideError, u16>> {
            panic!("the closure does not run")
        };
    let key = Key::new("acme", "k");
    let read: Answer<String> = one.engine.once(&WORK, key, "a", of_another_type).await;
    let problem = read.expect_err("a number is no text").problem();
    assert_eq!(problem, Some(Problem::RecordUnreadable));

    assert_eq!(one.engine.erase(Some("acme")).await.expect("erases"), 1);
    world.control.play([Scene::answering(Reply::new(422))]);
    for _ in 0..2 {
        let refused = call(world, &one, "a").await;
        assert!(matches!(refused, Err(Error::Final(422))), "{refused:?}");
    }
    assert_eq!(world.control.entries(), 4);
}

async fn n4_request_and_call_never_answer_for_each_other<F: Framework>(world: &World<F>) {
    let instance = world.instance().await;
    let request = instance.post("/named/7").key("k").effect("a");
    let first = request.send().await;
    first.assert_executed(201);
    let called = call(world, &instance, "a").await;
    assert!(matches!(called, Err(Error::KeyReused)), "{called:?}");
    request.send().await.assert_replays(&first);
    assert_eq!(
        instance.engine.erase(Some("acme")).await.expect("erases"),
        1
    );
    let called = call(world, &instance, "a").await;
    assert!(matches!(called, Ok(Once::Fresh(1))), "{called:?}");
    request.send().await.assert_problem("key-reused");
    assert_eq!(world.control.entries(), 2);
}

async fn n6_t1_call_that_is_dropped_holds_its_key_until_the_end_of_its_lease<F: Framework>(
    world: &World<F>,
) {
    let (one, other) = (world.instance().await, world.instance().await);
    world.control.play([Scene::gated()]);
    {
        let dropped = pin!(call(world, &one, "a"));
        let at_gate = pin!(world.control.at_gate(1));
        let first = select(dropped, at_gate).await;
        assert!(matches!(first, Either::Right(_)));
    }
    one.engine.drain().await;
    let next = call(world, &other, "a").await;
    assert!(matches!(next, Ok(Once::Fresh(2))), "{next:?}");
    assert_eq!((world.effects(), world.provider.calls()), (1, 1));
}
