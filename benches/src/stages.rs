//! Where the time of one client goes: the stages in the store, and what the service adds to them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::Body;
use axum::http::StatusCode;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use crate::business::Business;
use crate::contestant::Contestant::{self, Bare, Floor, Fused, Idem};
use crate::contestant::PATH;
use crate::database::Bank;
use crate::load::{Ask, StoreClient, request};
use crate::race::{Ground, median};
use crate::report::Table;

/// How many requests each contestant executes before anything is measured.
const WARM_UP: usize = 100;

/// The results.
pub(crate) struct Cost {
    /// The microseconds that the adapter and the engine take beyond the store and a bare service.
    pub(crate) engine: f64,
    /// The section of the report.
    pub(crate) text: String,
}

/// Measures this many requests of each contestant, in turn.
pub(crate) async fn run<C: Bank>(ground: &Ground<C>, requests: usize) -> Result<Cost> {
    ground.direct.acquire().await?.run(C::EMPTY).await?;
    let lanes = [Bare, Floor, Idem, Fused].map(|contestant| Lane::<C>::new(ground, contestant));
    let mut lanes: Vec<Lane<C>> = lanes.into_iter().flatten().collect();
    // On one task, as the requests of a connection are.
    let measuring = tokio::spawn(async move {
        for request in 0..WARM_UP + requests {
            for lane in &mut lanes {
                lane.send(request >= WARM_UP).await?;
            }
        }
        anyhow::Ok(lanes)
    });
    let lanes = measuring.await??;
    let mut table = Table::new(&[
        "µs, medians",
        "begin, claim",
        "work",
        "record, commit",
        "store",
        "service",
        "beyond the store",
    ]);
    for lane in &lanes {
        let beyond = lane.beyond_the_store();
        let figures = lane.figures.each_ref().map(|all| median(all));
        let [begin, work, commit, store, service] = figures.map(|figure| format!("{figure:.0}"));
        let (name, beyond) = (lane.contestant.name().to_owned(), format!("{beyond:.0}"));
        table.row([name, begin, work, commit, store, service, beyond]);
    }
    let beyond = |contestant| {
        let lane = lanes.iter().find(|lane| lane.contestant == contestant);
        lane.map(Lane::beyond_the_store)
            .context("a lane is missing")
    };
    let engine = beyond(Idem)? - beyond(Bare)?;
    let text = format!(
        "{INTRODUCTION}\n{table}\nThe adapter and the engine take {engine:.0} µs: idem's service beyond its store, \
         less the same of the bare service. Medians of {requests} requests.\n"
    );
    Ok(Cost { engine, text })
}

const INTRODUCTION: &str = "One client, one statement, in this process. \"Store\" is the work on a connection, without a \
     service. \"Service\" is axum's router with the same work, without a socket.\n";

/// A contestant, on its own.
struct Lane<C: Bank> {
    contestant: Contestant,
    client: StoreClient<C>,
    router: Router,
    /// Microseconds: begin, work, commit, all three, and a request to the router.
    figures: [Vec<f64>; 5],
}

impl<C: Bank> Lane<C> {
    /// A lane; `None` if the database does not support the contestant.
    fn new(ground: &Ground<C>, contestant: Contestant) -> Option<Self> {
        let (pool, business) = (&ground.pool, Business::One);
        Some(Self {
            contestant,
            client: StoreClient::team(contestant, pool, business, 1)?.pop()?,
            router: contestant.router::<C>(pool.clone(), business)?,
            figures: Default::default(),
        })
    }

    async fn send(&mut self, counts: bool) -> Result<()> {
        let ask = Ask::fresh();
        let start = Instant::now();
        let stages = self.client.pay(&ask).await?;
        let request = request(PATH, &Ask::fresh())?.map(Body::new);
        let sent = Instant::now();
        let response = self.router.clone().oneshot(request).await?;
        let status = response.status();
        response.into_body().collect().await?;
        let answered = sent.elapsed();
        ensure!(status == StatusCode::CREATED, "{status}");
        if counts {
            let durations = [
                stages.begun - start,
                stages.worked - stages.begun,
                stages.done - stages.worked,
                stages.done - start,
                answered,
            ];
            for (all, duration) in self.figures.iter_mut().zip(durations) {
                all.push(microseconds(duration));
            }
        }
        Ok(())
    }

    fn beyond_the_store(&self) -> f64 {
        let [.., store, service] = &self.figures;
        median(service) - median(store)
    }
}

fn microseconds(duration: Duration) -> f64 {
    1e6 * duration.as_secs_f64()
}
