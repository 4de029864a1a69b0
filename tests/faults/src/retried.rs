//! The time after a fault: the client retries, and all visible facts are checked.

use idem_tests::{Database, Framework, Request, World};

use crate::checker::Answered;
use crate::history::History;
use crate::lane::{EFFECTS, identity};
use crate::report::Report;

/// Retries until the answer is a lasting one, sends the request once more, possibly to another
/// instance, and checks the results. The label is also the key, and the tenant is `acme`.
pub async fn retried<F: Framework<D>, D: Database>(
    world: &World<F, D>,
    [request, again]: [&Request; 2],
    answered: Vec<Answered>,
    label: &str,
) -> Report {
    let history = History::default();
    for answered in answered {
        history.add(label, answered);
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
