//! An operator resolves a `call_once` after the end of the lease, while its holder is only paused.

use std::rc::Rc;

use idem_core::{Resolution, Resolved};
use idem_faults::{
    Asking, Ending, Gate, Live, Middle, Play, Process, Reached, Ride, Rows, Service, Stop, UNTIMED,
    View, create_legs, end_lease,
};
use idem_tests::{Axum, Sqlite, Threads, Wires, World};

#[test]
fn t4_t5_holder_is_late_after_an_operator_has_resolved_its_call() {
    idem_tests::run(Threads::Many, async |world: &World<Axum, Sqlite>| {
        let mut observer = world.observe().await;
        create_legs(&mut *observer).await.expect("a table");
        let process = Process::start(world, Wires::default()).await;
        let other = Process::start(world, Wires::default()).await;
        let ride = Ride::new("ride".to_owned(), Middle::CallOnce(Service::Forgets));
        let (ride, asking) = (Rc::new(ride), Asking::of("ride".to_owned()));
        let identity = asking.identity();
        let ask = |process: &Process<Sqlite>, stops| {
            let gate = Rc::new(Gate::new(stops));
            let play = Play::right(&gate);
            Live {
                future: process.ask(asking.clone(), &UNTIMED, Rc::clone(&ride), play),
                gate,
                view: View::new(0, Ending::Success),
            }
        };
        let mut late = ask(&process, |stop| matches!(stop, Stop::Sent | Stop::Paid));
        let mut polls = usize::MAX;
        let sent = late.go(&mut polls).await;
        assert!(matches!(sent, Some(Reached::Stop(Stop::Sent))), "{sent:?}");
        end_lease::<Sqlite>(&mut observer, &identity)
            .await
            .expect("an end");
        let (tenant, operation, key) = asking.parts();
        let found = Resolution::Found(&99);
        let resolved = other
            .engine
            .resolve_step(Some(tenant), &operation, &key, "charge", found);
        assert_eq!(resolved.await.expect("an answer"), Resolved::Done);
        // Its own result is of no use: the operator's is recorded.
        let reached = late.go(&mut polls).await;
        drop(late);
        end_lease::<Sqlite>(&mut observer, &identity)
            .await
            .expect("an end");
        let answer = ask(&other, |_| false).future.await;
        let rows = Rows::read::<Sqlite>(&mut observer, &identity, &ride.label).await;
        let checked = ride.check(&rows.expect("the rows"));
        assert!(checked.is_ok(), "{checked:?}: {reached:?}, then {answer:?}");
        assert!(matches!(reached, Some(Reached::Answer(_))), "{reached:?}");
    });
}
