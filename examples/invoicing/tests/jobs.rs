//! The example's workers are killed, again and again.

use std::process::Stdio;
use std::time::Duration;

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

    fn worker(&self) -> Child {
        self.command().spawn().expect("the example starts")
    }

    async fn number(&self, query: &'static str) -> i64 {
        let number = sqlx::query_scalar(query).fetch_one(&self.pool).await;
        number.expect("a number")
    }
}

#[tokio::test]
async fn x34_jobs_of_killed_workers_take_effect_once() {
    const JOBS: i64 = 400;
    let site = Site::new().await;
    // The tables of the queue and of the example.
    let enqueued = site
        .command()
        .args(["--enqueue", "unpriced", "--cents", "0"])
        .status();
    assert!(enqueued.await.expect("the example").success());
    let until = Instant::now() + TIMEOUT;
    let first = site.worker();
    while site
        .number("SELECT count(*) FROM pg_tables WHERE tablename = 'dead_jobs'")
        .await
        == 0
    {
        assert!(Instant::now() < until, "no tables");
        sleep(Duration::from_millis(50)).await;
    }
    let mut workers = [first, site.worker()];
    let add = "SELECT graphile_worker.add_job('order_shipped', \
               json_build_object('order', 'order-' || number, 'cents', 500)) FROM generate_series(1, $1) AS number";
    let mut kills = 0;
    for part in 1..=4 {
        sqlx::query(add)
            .bind(JOBS / 4)
            .execute(&site.pool)
            .await
            .expect("jobs");
        while site.number("SELECT count(*) FROM idem.records").await < JOBS / 4 * part - 50 {
            for worker in &mut workers {
                sleep(Duration::from_millis(150)).await;
                worker.kill().await.expect("a process");
                *worker = site.worker();
                kills += 1;
            }
            assert!(Instant::now() < until, "too slow");
        }
    }
    while site
        .number("SELECT count(*) FROM graphile_worker.jobs")
        .await
        > 0
    {
        assert!(Instant::now() < until, "jobs are left");
        sleep(Duration::from_millis(50)).await;
    }
    let invoices = site.number("SELECT count(*) FROM invoices").await;
    let jobs = site
        .number("SELECT count(DISTINCT job) FROM invoices")
        .await;
    assert_eq!((invoices, jobs), (JOBS, JOBS));
    assert_eq!(site.number("SELECT count(*) FROM dead_jobs").await, 1);
    eprintln!("{JOBS} jobs, {kills} kills of a worker");
}
