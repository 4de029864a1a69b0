//! X23: a process is frozen while it holds the only writer of an SQLite file.

use std::time::{Duration, Instant};

use idem_faults::alone;
use idem_tests::{Database as _, Request, Service, Site, Sqlite, Wires, until_working};

fn payment(service: &Service, key: &str) -> Request {
    let payment = r#"{"from":"alice","to":"bob","amount":1}"#;
    service.post("/payments").key(key).json(payment)
}

#[test]
fn x23_frozen_process_makes_others_unavailable_until_it_continues_or_ends() {
    alone(async {
        let database = Sqlite::create().await;
        let site = Site {
            database,
            program: "service-axum",
        };
        let frozen = Service::working(&site, Duration::from_secs(1)).await;
        let other = Service::start(&site).await;
        let pool = site.database.connect(Wires::default()).await;
        let mut connection = pool.acquire().await.expect("a connection");
        let before = payment(&other, "before").send().await;
        before.assert_executed(201);

        let pending = payment(&frozen, "k").start();
        until_working::<Sqlite>(&mut connection).await;
        frozen.freeze();
        let start = Instant::now();
        let refused = payment(&other, "k").send().await;
        let waited = start.elapsed();
        println!("refused after {waited:.1?}");
        refused.assert_problem("unavailable");
        // The service's busy timeout is 5 s.
        assert!(waited >= Duration::from_secs(4), "{waited:?}");
        payment(&other, "before")
            .send()
            .await
            .assert_replays(&before);
        frozen.thaw();
        let answer = pending.answer().await;
        answer.assert_executed(201);
        payment(&other, "k").send().await.assert_replays(&answer);

        // The operating system frees the lock of a process that has ended.
        let lost = payment(&frozen, "l").open().await;
        until_working::<Sqlite>(&mut connection).await;
        frozen.freeze();
        let waiting = payment(&other, "l").start();
        frozen.kill().await;
        drop(lost);
        waiting.answer().await.assert_executed(201);
        let payments = other.get("/payments").await;
        assert_eq!(payments.as_array().map(Vec::len), Some(3));
        drop(connection);
        pool.close().await;
        other.kill().await;
        site.database.remove().await;
    });
}
