//! X5: an instance is drained, as after a SIGTERM, while its wire to the database is held.

use std::time::Duration;

use futures_util::FutureExt as _;
use idem_faults::{Answered, Direction, Fault, Harm, Proxy, Report, retried};
use idem_tests::{Framework, Served, Settings, Wires, World, conformance};
use tokio::time::sleep;

conformance![
    on [Postgres RecordInCommit Mysql]:
    x5_instance_drained_while_the_wire_is_held,
];

/// The number of positions, in each direction, at which the test holds the wire.
const BYTES: usize = 4;

/// From P1 to P10: the attempt ends, and its client is answered.
async fn x5_instance_drained_while_the_wire_is_held<F: Framework<D>, D: Served>(
    world: &World<F, D>,
) {
    let proxy = Proxy::to(world.database.address()).await;
    let wires = Wires {
        connections: 1,
        through: Some(proxy.address),
        ..Wires::default()
    };
    let settings = Settings::from(wires);
    let clean = world.instance().await;
    let mut report = Report::default();
    for direction in [Direction::Requests, Direction::Answers] {
        for part in 0..BYTES {
            // An instance can be drained only once.
            let instance = world.instance_with(settings.clone()).await;
            for round in 0..2 {
                proxy.count();
                let label = format!("warm-{direction:?}-{part}-{round}");
                let request = instance.post("/effects").key(&label).effect(&label);
                request.send().await.assert_executed(201);
            }
            let harm = Harm::HoldBack;
            let after = proxy.traffic().of(direction) * part / BYTES;
            let label = format!("{direction:?}-{after}");
            let request = instance.post("/effects").key(&label).effect(&label);
            // On its way back to the pool, the connection sends bytes, too.
            drop(instance.whole_pool().await);
            while instance.pool.num_idle() == 0 {
                sleep(Duration::from_millis(1)).await;
            }
            let harms = proxy.harms();
            proxy.arm(Fault {
                direction,
                after,
                harm,
            });
            let first = request.start();
            proxy.harmed(harms + 1).await;
            let mut drain = Box::pin(instance.engine.drain());
            // The held bytes may belong to the pool and not to an attempt.
            let runs = (&mut drain).now_or_never().is_none();
            let other = request.clone().key("other").effect("other");
            other.send().await.assert_problem("unavailable");
            proxy.heal();
            let first = first.answer().await;
            if runs {
                drain.await;
                first.assert_executed(201);
            }
            let answered = vec![Answered::Answer(first)];
            let elsewhere = request.to(clean.address);
            let mut seen = retried(world, [&elsewhere, &elsewhere], answered, &label).await;
            seen.faults = usize::from(runs);
            // The instance sends nothing more on the wire.
            instance.stop().await;
            report = report.and(seen);
        }
    }
    report.holds();
    report.is_soon_over();
    assert!(report.faults > BYTES);
}
