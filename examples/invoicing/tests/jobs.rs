//! The example's workers die between the commit of a job and its removal from the queue, and are killed at any time.

use std::process::Stdio;
use std::time::Duration;

use fastrand::Rng;
use sqlx::PgPool;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use xtask::server::{POSTGRES, Server};

const TIMEOUT: Duration = Duration::from_secs(90);

struct Site {
    server: Server,
    pool: PgPool,
}

impl Site {
    async fn new() -> Self {
        let server = Server::start(&POSTGRES).expect("a database of its own");
        let pool = PgPool::connect(server.url()).await.expect("a connection");
        Self { server, pool }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_invoicing"));
        command
            .args(["--database-url", self.server.url(), "--dead-after", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// One that dies after so many jobs.
    fn worker(&self, jobs: u32) -> Child {
        let mut command = self.command();
        command.args(["--die-after", &jobs.to_string()]);
        command.spawn().expect("the example starts")
    }

    async fn number(&self, query: &'static str) -> i64 {
        let number = sqlx::query_scalar(query).fetch_one(&self.pool).await;
        number.expect("a number")
    }
}

#[tokio::test]
async fn x36_jobs_of_killed_workers_take_effect_once() {
    const JOBS: i64 = 150;
    let site = Site::new().await;
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    // The tables of the queue and of the example.
    let enqueued = site
        .command()
        .args(["--enqueue", "unpriced", "--cents", "0"])
        .status();
    assert!(enqueued.await.expect("the example").success());
    let until = Instant::now() + TIMEOUT;
    let first = site.worker(10);
    while site
        .number("SELECT count(*) FROM pg_tables WHERE tablename = 'dead_jobs'")
        .await
        == 0
    {
        assert!(Instant::now() < until, "no tables");
        sleep(Duration::from_millis(50)).await;
    }
    let mut workers = [first, site.worker(10)];
    let add = "SELECT graphile_worker.add_job('order_shipped', \
               json_build_object('order', 'order-' || number, 'cents', 500)) FROM generate_series(1, $1) AS number";
    sqlx::query(add)
        .bind(JOBS)
        .execute(&site.pool)
        .await
        .expect("jobs");
    let (mut deaths, mut kills) = (0, 0);
    while site
        .number("SELECT count(*) FROM graphile_worker.jobs")
        .await
        > 0
    {
        assert!(Instant::now() < until, "jobs are left");
        sleep(Duration::from_millis(20)).await;
        for worker in &mut workers {
            if worker.try_wait().expect("a process").is_some() {
                deaths += 1;
            } else if rng.u8(..100) == 0 {
                worker.kill().await.expect("a process");
                kills += 1;
            } else {
                continue;
            }
            *worker = site.worker(rng.u32(5..20));
        }
    }
    let invoices = site.number("SELECT count(*) FROM invoices").await;
    let jobs = site
        .number("SELECT count(DISTINCT job) FROM invoices")
        .await;
    assert_eq!((invoices, jobs), (JOBS, JOBS));
    assert_eq!(site.number("SELECT count(*) FROM dead_jobs").await, 1);
    assert!(deaths >= 3, "{deaths} deaths");
    eprintln!("{JOBS} jobs, {deaths} deaths before a removal, {kills} kills at any time");
}
