//! A PostgreSQL server that crashes under load, and a standby that takes over.

use std::str::FromStr as _;
use std::time::{Duration, Instant};

use idem_tests::{Domain as _, Framework, Request, Served, Settings, World};
use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};
use tokio::task::block_in_place;
use tokio::time::sleep;
use xtask::server::{POSTGRES, Server};

use crate::kills::{Kills, PATH, conclude};
use crate::lane::TENANT;
use crate::load::Load;
use crate::proxy::{Direction, Fault, Harm, Proxy};
use crate::report::Report;

/// What a COMMIT waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// For the standby.
    Synchronous,
    /// For the primary's own disk.
    Asynchronous,
}

/// How a primary ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// All its processes are killed by SIGKILL.
    Killed,
    /// As by `pg_ctl stop -m immediate`.
    Stopped,
}

/// How long a standby may take to follow, and to take over.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(20);

/// A primary and its standby. Clients reach the current primary through a proxy, as through a virtual
/// address. For a runtime of several threads.
#[derive(Debug)]
pub struct Pair {
    replication: Replication,
    primary: Server,
    standby: Option<Server>,
    /// The clients' way to the primary.
    front: Proxy,
    /// The standby's way to the primary.
    link: Proxy,
}

impl Pair {
    /// Starts both.
    pub async fn start(replication: Replication) -> Self {
        let primary = block_in_place(|| Server::start(&POSTGRES)).expect("a server");
        let address = address(&primary);
        let mut this = Self {
            replication,
            primary,
            standby: None,
            front: Proxy::to(address.clone()).await,
            link: Proxy::to(address).await,
        };
        this.add_standby().await;
        this
    }

    /// Where clients find the primary, before and after a fail-over.
    pub fn url(&self) -> String {
        let (_, port) = address(&self.primary);
        let through = self.front.address.port().to_string();
        self.primary.url().replace(&port.to_string(), &through)
    }

    /// Copies the primary, and waits until the copy follows it.
    async fn add_standby(&mut self) {
        let port = self.link.address.port();
        let standby = block_in_place(|| self.primary.start_standby(port));
        self.standby = Some(standby.expect("a standby"));
        let mut primary = self.primary().await;
        let mut follows = "state = 'streaming'";
        if self.replication == Replication::Synchronous {
            // Not before the copy, as the copy has the setting, too.
            let set = "ALTER SYSTEM SET synchronous_standby_names = '*'";
            primary.run(set).await.expect("the server obeys");
            let loaded = primary.run("SELECT pg_reload_conf()").await;
            loaded.expect("the server obeys");
            follows = "state = 'streaming' AND sync_state = 'sync'";
        }
        let query = format!("SELECT count(*) FROM pg_stat_replication WHERE {follows}");
        until(&mut primary, &query, 1).await;
    }

    /// A session on the primary itself.
    pub async fn primary(&self) -> PgConnection {
        session(&self.primary).await.expect("the primary runs")
    }

    /// Black-holes the standby's connection to the primary.
    fn cut_off(&self) {
        self.link.arm(Fault {
            direction: Direction::Answers,
            after: 0,
            harm: Harm::BlackHole,
        });
    }

    /// Ends the primary.
    pub fn crash(&mut self, crash: Crash) {
        let ended = block_in_place(|| match crash {
            Crash::Killed => self.primary.kill(),
            Crash::Stopped => self.primary.stop_immediately(),
        });
        ended.expect("the primary runs");
    }

    /// Starts the primary again, with the data that it had.
    pub fn restart(&mut self) {
        block_in_place(|| self.primary.restart()).expect("it starts again");
    }

    /// Ends the standby. It keeps its data.
    pub fn stop_standby(&mut self) {
        let standby = self.standby.as_mut().expect("a standby");
        block_in_place(|| standby.kill()).expect("the standby runs");
    }

    /// Starts the standby again, with the data that it had.
    pub fn restart_standby(&mut self) {
        let standby = self.standby.as_mut().expect("a standby");
        block_in_place(|| standby.restart()).expect("it starts again");
    }

    /// Makes the standby the primary, and sends the clients there. The old primary must have ended. Its
    /// data is removed.
    pub async fn promote(&mut self) {
        // What was not replicated is lost with the old primary.
        self.link.heal();
        let standby = self.standby.take().expect("a standby");
        let mut session = session(&standby).await.expect("the standby runs");
        let promoted = session.run("SELECT pg_promote()").await;
        promoted.expect("the standby obeys");
        until(&mut session, "SELECT pg_is_in_recovery()::int::bigint", 0).await;
        self.front.point_to(address(&standby));
        self.link.point_to(address(&standby));
        let old = std::mem::replace(&mut self.primary, standby);
        block_in_place(|| drop(old));
    }
}

fn address(server: &Server) -> (String, u16) {
    let options = PgConnectOptions::from_str(server.url()).expect("a URL of PostgreSQL");
    (options.get_host().to_owned(), options.get_port())
}

async fn session(server: &Server) -> sqlx::Result<PgConnection> {
    PgConnection::connect(server.url()).await
}

/// Waits until the query has this result.
///
/// # Panics
///
/// If it doesn't have it in time.
pub async fn until(session: &mut PgConnection, query: &str, result: i64) {
    let end = Instant::now() + FOLLOWS_WITHIN;
    while session.number(query).await.expect("a number") != result {
        assert!(Instant::now() < end, "{query} is not {result}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// X22: again and again, the primary crashes and the standby takes over. Before every other crash the
/// standby's link is dead for a while.
pub async fn fail_over<F: Framework<D>, D: Served>(
    replication: Replication,
    mut kills: Kills,
) -> Report {
    let mut pair = Pair::start(replication).await;
    let world = World::<F, D>::on(D::on(&pair.url()).await).await;
    let mut settings = Settings::default();
    settings.wires.acquire_timeout = Duration::from_secs(2);
    let instances = [
        world.instance_with(settings.clone()).await,
        world.instance_with(settings).await,
    ];
    let addresses = instances.map(|instance| instance.address);
    let request = move |label: &str, number: usize| {
        Request::new(addresses[number % addresses.len()], "POST", PATH)
            .tenant(TENANT)
            .key(label)
            .effect(label)
    };
    let load = Load::start(kills.clients, "key", request);
    let mut outages = Vec::new();
    for number in 0..kills.times {
        kills.pause().await;
        if number % 2 == 0 {
            pair.cut_off();
            kills.pause().await;
        }
        let label = format!("probe-{number}");
        let probe = request(&label, number);
        let crash = if number % 4 == 1 {
            Crash::Stopped
        } else {
            Crash::Killed
        };
        pair.crash(crash);
        let probed = load
            .history()
            .persist(&label, async || probe.attempt().await);
        let ((), outage) = tokio::join!(pair.promote(), probed);
        outages.push(outage);
        kills.pause().await;
        pair.add_standby().await;
    }
    let retry = async |label: &str| request(label, 0).attempt().await;
    let mut report = conclude(world, load, kills, retry).await;
    report.recoveries = outages;
    match replication {
        Replication::Synchronous => report,
        Replication::Asynchronous => report.allowing_losses(),
    }
}
