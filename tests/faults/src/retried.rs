//! What comes after a fault: the client retries, and everything that can be seen is checked.

use idem_tests::{Database, Framework, Request, World};

use crate::checker::Told;
use crate::history::History;
use crate::lane::{EFFECTS, identity};
use crate::report::Report;

/// Retries until there is an answer that stays, sends the request once more, which may go elsewhere, and
/// checks what is seen. The label is the key, too, and the tenant is `acme`.
pub async fn retried<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    [request, again]: [&Request; 2],
    told: Vec<Told>,
    label: &str,
) -> Report {
    let history = History::default();
    for told in told {
        history.add(label, told);
    }
    let recovery = history.persist(label, async || request.send().await).await;
    history.add(label, again.send().await);
    let (_, path) = request.target();
    let mut connection = world.observe().await;
    let identity = |label: &str| identity(path, label);
    let checked = history.check::<D>(&mut connection, EFFECTS, identity).await;
    Report {
        faults: 1,
        recoveries: vec![recovery],
        ..checked
    }
}
