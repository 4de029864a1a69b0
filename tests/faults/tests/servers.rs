//! X10 and X11: the database server is killed and started again. And a server that becomes a standby.

use std::time::{Duration, Instant};

use fastrand::Rng;
use idem_core::{PostgresStore, StoreError};
use idem_faults::{Durability, Kills, Report, alone, kill_server};
use idem_tests::{
    Actix, Axum, Database as _, Domain as _, Framework, Mysql, Postgres, RecordInCommit, Served,
    Settings, Wires, World,
};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use xtask::server::{Kind, MARIADB, POSTGRES, Server};

#[test]
fn x10_server_killed_axum_postgres() {
    run::<Axum, Postgres>(&POSTGRES, Durability::Kept).holds();
}

#[test]
fn x10_server_killed_actix_record_in_commit() {
    run::<Actix, RecordInCommit>(&POSTGRES, Durability::Kept).holds();
}

#[test]
fn x10_server_killed_axum_mysql() {
    run::<Axum, Mysql>(&MARIADB, Durability::Kept).holds();
}

/// The control: a loss here shows that X10 would find a loss. Even so nothing is half done.
#[test]
fn x11_server_killed_without_durability_axum_postgres() {
    loses_whole_requests(run::<Axum, Postgres>(&POSTGRES, Durability::Off));
}

#[test]
fn x11_server_killed_without_durability_axum_mysql() {
    loses_whole_requests(run::<Axum, Mysql>(&MARIADB, Durability::Off));
}

fn loses_whole_requests(report: Report) {
    let report = report.allowing_losses();
    report.holds();
    assert!(report.lost > 0, "nothing was lost");
}

fn run<F: Framework<D>, D: Served>(kind: &'static dyn Kind, durability: Durability) -> Report {
    let kills = Kills {
        times: 4,
        clients: 8,
        work: Duration::ZERO,
        rng: Rng::with_seed(10),
    };
    let report = alone(kill_server::<F, D>(kind, durability, kills));
    assert!(
        report.acknowledged > 20,
        "hardly any request was acknowledged"
    );
    report
}

/// A fail-over leads to a standby for a while. That passes, so the check's error and the answers are those of
/// a database that is unavailable.
#[test]
fn o11_standby_is_unavailable_until_it_is_promoted() {
    alone(async {
        let server = spawn_blocking(|| Server::start(&POSTGRES)).await;
        let mut server = server.expect("ends").expect("a server");
        let world = World::<Axum, Postgres>::on(<Postgres as Served>::on(server.url()).await).await;
        let mut settings = Settings::default();
        settings.wires.acquire_timeout = Duration::from_secs(2);
        let instance = world.instance_with(settings).await;
        let request = instance.post("/effects").key("k").effect("a");
        world
            .run(
                "DO $$ BEGIN EXECUTE format('COPY (SELECT 1) TO %L', \
                 current_setting('data_directory') || '/standby.signal'); END $$",
            )
            .await;
        let restarted = spawn_blocking(move || {
            server.restart().expect("it starts again");
            server
        });
        let server = restarted.await.expect("ends");

        let pool = world.database.connect(Wires::default()).await;
        let mut connection = pool.acquire().await.expect("a connection");
        let is_standby = "SELECT pg_is_in_recovery()::int::bigint";
        assert_eq!(connection.number(is_standby).await.expect("a number"), 1);
        let checked = PostgresStore::new(pool.clone()).check().await;
        let error = checked.expect_err("it can't be written");
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert!(format!("{error:?}").contains("recovery"), "{error:?}");
        request.send().await.assert_problem("unavailable");
        assert_eq!(world.control.entries(), 0);

        connection
            .run("SELECT pg_promote()")
            .await
            .expect("promotes");
        let until = Instant::now() + Duration::from_secs(10);
        let mut answer = request.send().await;
        while answer.status == 503 && Instant::now() < until {
            sleep(Duration::from_millis(50)).await;
            answer = request.send().await;
        }
        answer.assert_executed(201);
        PostgresStore::new(pool.clone())
            .check()
            .await
            .expect("can be written");
        drop(connection);
        pool.close().await;
        world.end(false).await;
        drop(server);
    });
}
