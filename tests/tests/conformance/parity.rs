//! Clients get the same answers from every framework, to the last byte.
//!
//! The only exception is a framework's own answer to a request that it can't extract.

use std::sync::Arc;

use idem_core::Config;
use idem_tests::{
    Actix, Answer, Axum, Database, Framework, Instance, Mysql, Postgres, Request, Scene, Sqlite,
    Threads, World, run,
};

mod rules;

#[test]
fn parity_on_sqlite() {
    assert_parity::<Sqlite>();
}

#[test]
fn parity_on_postgres() {
    assert_parity::<Postgres>();
}

#[test]
fn parity_on_mysql() {
    assert_parity::<Mysql>();
}

fn assert_parity<D: Database>()
where
    Axum: Framework<D>,
    Actix: Framework<D>,
{
    let (axum, actix) = (answers::<Axum, D>(), answers::<Actix, D>());
    assert!(axum.len() > 100, "only {} answers", axum.len());
    assert_eq!(axum.len(), actix.len());
    let differ = axum
        .iter()
        .zip(&actix)
        .filter(|(axum, actix)| axum != actix);
    let differ: Vec<_> = differ.collect();
    assert!(differ.is_empty(), "{differ:#?}");
}

/// The number of the request, the status, the headers and the body.
type Seen = (String, u16, Vec<(String, String)>, String);

fn answers<F: Framework<D>, D: Database>() -> Vec<Seen> {
    let mut seen = Vec::new();
    run::<F, D>(Threads::Many, async |world| {
        let config = Config::new().with_response_limit(5000);
        let mut script = Script {
            instance: world.configured(config).await,
            world,
            rule: "",
            seen: Vec::new(),
        };
        script.keys().await;
        script.scopes_and_operations().await;
        script.replays_and_mismatches().await;
        script.fingerprints().await;
        script.duplicates().await;
        script.statuses().await;
        script.outcomes().await;
        script.limits().await;
        script.ends().await;
        seen = script.seen;
    });
    seen
}

struct Script<'a, F, D: Database> {
    world: &'a World<F, D>,
    instance: Arc<Instance<D>>,
    rule: &'static str,
    seen: Vec<Seen>,
}

impl<F: Framework<D>, D: Database> Script<'_, F, D> {
    /// A request under a key that no other has.
    fn fresh(&self, target: &str) -> Request {
        self.instance.post(target).key(self.key()).effect("a")
    }

    fn key(&self) -> String {
        format!("key-{}", self.seen.len())
    }

    async fn send(&mut self, request: &Request) {
        let answer = request.send().await;
        self.see(&answer);
    }

    async fn send_twice(&mut self, request: &Request) {
        self.send(request).await;
        self.send(request).await;
    }

    /// One scene, and a second request with the same key.
    async fn play_and_retry(&mut self, target: &str, scene: Scene) {
        let entries = self.world.control.entries();
        self.world.control.play([scene]);
        let request = self.fresh(target);
        self.send(&request).await;
        assert_eq!(self.world.control.entries(), entries + 1);
        self.send(&request).await;
    }

    fn see(&mut self, answer: &Answer) {
        let asked = format!("{} {}", self.rule, self.seen.len());
        let lines = answer.headers.iter().filter(|(name, _)| name != "date");
        let lines = lines.map(|(name, value)| {
            // The two frameworks run one after the other.
            let value = match name.as_str() {
                "idempotency-expires" => "some time".to_owned(),
                _ => String::from_utf8_lossy(value).into_owned(),
            };
            (name.clone(), value)
        });
        let mut lines: Vec<_> = lines.collect();
        // Stable: duplicates keep their order.
        lines.sort_by(|a, b| a.0.cmp(&b.0));
        let body = format!("{:?}", answer.body);
        self.seen.push((asked, answer.status, lines, body));
    }
}
