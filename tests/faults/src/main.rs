//! The long form of the fault matrix: rounds of random faults, each drawn from a seed.
//! `cargo xtask faults` starts the servers and runs it.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::ensure;
use clap::Parser;
use fastrand::Rng;
use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, join_all};
use idem_faults::{
    Drops, Durability, Freezes, Keys, Kills, Lane, Replication, Report, fail_over, freeze_riders,
    full_postgres, full_sqlite, kill_application, kill_riders, kill_server, may_mount,
};
use idem_tests::{
    Actix, Axum, Database, Framework, Mysql, Postgres, RecordInCommit, Served, Sqlite, World,
};
use tokio::time::sleep;
use xtask::interrupt;
use xtask::server::{Kind, MARIADB, POSTGRES};

/// Random faults from a seed.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask faults")]
struct Options {
    /// For how long; the last round is finished, and with 0 it is the only one.
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Where everything random comes from. A new one unless it is given.
    #[arg(long)]
    seed: Option<u64>,
    /// The first round; one that violated something is repeated by its number and its seed.
    #[arg(long, default_value_t = 0)]
    round: u64,
    /// Only rounds in whose names this occurs, such as `wire`, `killed` or `mysql`.
    #[arg(long, default_value = "")]
    only: String,
}

type Round = (&'static str, fn(Rng) -> LocalBoxFuture<'static, Report>);

/// The rounds, in order. After the last one, the first comes again.
const ROUNDS: [Round; 26] = [
    ("wire, axum, postgres", |rng| {
        wire::<Axum, Postgres>(rng).boxed_local()
    }),
    ("polls and stores, sqlite", |rng| {
        drops::<Axum, Sqlite>(rng).boxed_local()
    }),
    ("application killed, axum, postgres", |rng| {
        application::<Postgres>("service-axum", rng).boxed_local()
    }),
    ("wire, actix, mysql", |rng| {
        wire::<Actix, Mysql>(rng).boxed_local()
    }),
    ("polls and stores, postgres", |rng| {
        drops::<Axum, Postgres>(rng).boxed_local()
    }),
    ("application killed, actix, mysql", |rng| {
        application::<Mysql>("service-actix", rng).boxed_local()
    }),
    ("server killed, axum, postgres", |rng| {
        server::<Axum, Postgres>(&POSTGRES, rng).boxed_local()
    }),
    ("wire, actix, record in commit", |rng| {
        wire::<Actix, RecordInCommit>(rng).boxed_local()
    }),
    ("polls and stores, mysql", |rng| {
        drops::<Axum, Mysql>(rng).boxed_local()
    }),
    ("application killed, axum, sqlite", |rng| {
        application::<Sqlite>("service-axum", rng).boxed_local()
    }),
    ("server killed, actix, mysql", |rng| {
        server::<Actix, Mysql>(&MARIADB, rng).boxed_local()
    }),
    ("wire, axum, mysql", |rng| {
        wire::<Axum, Mysql>(rng).boxed_local()
    }),
    ("polls and stores, record in commit", |rng| {
        drops::<Axum, RecordInCommit>(rng).boxed_local()
    }),
    ("application killed, actix, postgres", |rng| {
        application::<Postgres>("service-actix", rng).boxed_local()
    }),
    ("wire, actix, postgres", |rng| {
        wire::<Actix, Postgres>(rng).boxed_local()
    }),
    ("server killed, axum, record in commit", |rng| {
        server::<Axum, RecordInCommit>(&POSTGRES, rng).boxed_local()
    }),
    ("synchronous standby, axum, postgres", |rng| {
        standby::<Axum, Postgres>(Replication::Synchronous, rng).boxed_local()
    }),
    ("asynchronous standby, actix, record in commit", |rng| {
        standby::<Actix, RecordInCommit>(Replication::Asynchronous, rng).boxed_local()
    }),
    ("rides killed, axum, postgres", |rng| {
        killed::<Postgres>("service-axum", rng).boxed_local()
    }),
    ("rides frozen, axum, mysql", |rng| {
        frozen::<Mysql>("service-axum", rng).boxed_local()
    }),
    ("rides killed, actix, sqlite", |rng| {
        killed::<Sqlite>("service-actix", rng).boxed_local()
    }),
    ("rides frozen, actix, postgres", |rng| {
        frozen::<Postgres>("service-actix", rng).boxed_local()
    }),
    ("rides killed, actix, mysql", |rng| {
        killed::<Mysql>("service-actix", rng).boxed_local()
    }),
    ("rides frozen, axum, sqlite", |rng| {
        frozen::<Sqlite>("service-axum", rng).boxed_local()
    }),
    (FULL_DISKS[0], |rng| full_sqlite(full(rng)).boxed_local()),
    (FULL_DISKS[1], |rng| full_postgres(full(rng)).boxed_local()),
];

/// The rounds that mount a file system, which only root may do.
const FULL_DISKS: [&str; 2] = ["full disk, axum, sqlite", "full disk, actix, postgres"];

/// The duration of a round of random faults.
const STORM: Duration = Duration::from_secs(30);

/// The number of lanes with faults in parallel.
const LANES: u64 = 16;

async fn wire<F: Framework<D>, D: Served>(rng: Rng) -> Report {
    let lanes = lanes(rng).map(async |mut rng| {
        let lane = Lane::<F, D>::open().await;
        lane.storm(&mut rng, STORM).await
    });
    join_all(lanes).await.into_iter().sum()
}

async fn drops<F: Framework<D>, D: Database>(rng: Rng) -> Report {
    let world = World::<F, D>::create().await;
    // Open all lanes before the first storm, because opening a lane writes to the database.
    let mut open = Vec::new();
    for rng in lanes(rng) {
        open.push((rng, Drops::open(&world).await));
    }
    let storms = open
        .into_iter()
        .enumerate()
        .map(|(lane, (mut rng, mut drops))| {
            let world = &world;
            async move {
                drops.storm(&format!("lane-{lane}"), &mut rng, STORM).await;
                drops.check(world).await
            }
        });
    let report = join_all(storms).await.into_iter().sum();
    world.end(true).await;
    report
}

fn lanes(mut rng: Rng) -> impl Iterator<Item = Rng> {
    (0..LANES).map(move |_| rng.fork())
}

async fn application<D: Database>(program: &'static str, rng: Rng) -> Report {
    let kills = Kills {
        times: 20,
        clients: 16,
        work: Duration::from_millis(1),
        rng,
    };
    kill_application::<D>(program, kills).await
}

async fn killed<D: Database>(program: &'static str, rng: Rng) -> Report {
    let kills = Kills {
        times: 20,
        clients: 16,
        work: Duration::from_millis(3),
        rng,
    };
    kill_riders::<D>(program, Keys::Kept, kills).await
}

async fn frozen<D: Database>(program: &'static str, rng: Rng) -> Report {
    freeze_riders::<D>(program, Freezes::some::<D>(40, rng)).await
}

async fn server<F: Framework<D>, D: Served>(kind: &'static dyn Kind, rng: Rng) -> Report {
    let kills = Kills {
        times: 20,
        clients: 16,
        work: Duration::ZERO,
        rng,
    };
    kill_server::<F, D>(kind, Durability::Kept, kills).await
}

async fn standby<F: Framework<D>, D: Served>(replication: Replication, rng: Rng) -> Report {
    let kills = Kills {
        times: 10,
        clients: 8,
        work: Duration::ZERO,
        rng,
    };
    fail_over::<F, D>(replication, kills).await
}

fn full(rng: Rng) -> Kills {
    Kills {
        times: 5,
        clients: 8,
        work: Duration::ZERO,
        rng,
    }
}

/// A dropped round ends its servers and applications.
async fn unless_interrupted(round: impl Future<Output = Report>) -> Option<Report> {
    let interrupted = async {
        while interrupt::check().is_ok() {
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        report = round => Some(report),
        () = interrupted => None,
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let may_mount = may_mount();
    let runs =
        |name: &str| name.contains(&options.only) && (may_mount || !FULL_DISKS.contains(&name));
    if !may_mount {
        eprintln!(
            "faults: without the rounds {}: only root may mount the tmpfs that they fill",
            FULL_DISKS.join("; ")
        );
    }
    ensure!(
        ROUNDS.iter().any(|(name, _)| runs(name)),
        "no round that can run here has {:?} in its name; all rounds are: {}",
        options.only,
        ROUNDS.map(|(name, _)| name).join("; "),
    );
    interrupt::install()?;
    let seed = options.seed.unwrap_or_else(|| fastrand::u64(..));
    eprintln!("faults: seed {seed}");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let end = Instant::now() + Duration::from_secs(60 * options.minutes);
    let mut reports = BTreeMap::<&str, Report>::new();
    for number in options.round.. {
        let (name, round) = ROUNDS[usize::try_from(number)? % ROUNDS.len()];
        if !runs(name) {
            continue;
        }
        let Some(report) =
            runtime.block_on(unless_interrupted(round(Rng::with_seed(seed ^ number))))
        else {
            break;
        };
        println!("round {number}: {name}: {report}");
        if !report.violations.is_empty() {
            eprintln!("faults: repeat it by --seed {seed} --round {number}");
            return Ok(ExitCode::FAILURE);
        }
        let earlier = reports.remove(name).unwrap_or_default();
        reports.insert(name, earlier.and(report));
        if Instant::now() >= end {
            break;
        }
    }
    for (name, report) in &reports {
        println!("{name}: {report}");
    }
    let all: Report = reports.into_values().sum();
    println!("seed {seed}, in all: {all}");
    Ok(ExitCode::SUCCESS)
}
