//! The script, by the letters of the contract.

use std::sync::Arc;

use idem_core::{Config, Settle};
use idem_tests::{Act, Body, Database, Framework, Reply, Scene};

use super::Script;

impl<F: Framework<D>, D: Database> Script<'_, F, D> {
    pub(super) async fn keys(&mut self) {
        self.rule = "K";
        let request = self.instance.post("/effects").effect("a");
        self.send(&request).await;
        for key in ["", "a b", "a,b", "\"", "\"a", &"k".repeat(256), "ä"] {
            self.send(&request.clone().key(key)).await;
        }
        let two = request.clone().header("idempotency-key", "a");
        self.send(&two.header("Idempotency-Key", "a")).await;
        for key in ["k", "\"k\"", "\"k\";a=1", "k;a=1"] {
            self.send(&request.clone().key(key)).await;
        }
        let optional = self.instance.post("/optional").effect("a");
        self.send_twice(&optional).await;
        self.send(&optional.key("a b")).await;
    }

    pub(super) async fn scopes_and_operations(&mut self) {
        self.rule = "S";
        let request = self.instance.post("/effects").key("s").effect("a");
        for tenant in ["acme", "globex", "%F0%9F%A6%80", ""] {
            self.send_twice(&request.clone().tenant(tenant)).await;
        }
        for target in [
            "/unscoped",
            "/nested/7/effects",
            "/accounts/7/effects",
            "/named/7",
            "/no/such/route",
        ] {
            let request = self.instance.post(target).key("s").effect("a");
            self.send_twice(&request).await;
        }
        for method in ["GET", "HEAD", "PUT", "PATCH", "DELETE"] {
            let request = self.instance.request(method, "/effects");
            self.send(&request.key("s").effect("a")).await;
        }
    }

    pub(super) async fn replays_and_mismatches(&mut self) {
        self.rule = "R";
        let reply = Reply::bytes(201, [0, 255, 10])
            .header("content-type", "application/octet-stream")
            .header("content-language", "de")
            .header("link", "</a>; rel=a")
            .header("set-cookie", "session=1")
            .header("x-trace", "2")
            .header("link", "</b>; rel=b")
            .header("location", "/effects/1")
            .header("etag", [b'"', 0xe4, b'"']);
        self.play_and_retry("/effects", Scene::answering(reply))
            .await;
        let empty = Reply::bytes(200, "");
        self.play_and_retry("/effects", Scene::answering(empty))
            .await;
        self.rule = "M";
        let key = self.key();
        let request = self.fresh("/nested/7/effects");
        self.send(&request).await;
        self.send(&request.clone().effect("b")).await;
        for target in ["/nested/7/effects?a=1", "/nested/8/effects"] {
            let other = self.instance.post(target).key(&key).effect("a");
            self.send_twice(&other).await;
        }
        self.send(&request).await;
    }

    pub(super) async fn fingerprints(&mut self) {
        self.rule = "F";
        for (target, content_type, bodies) in [
            (
                "/effects",
                "application/json",
                [r#"{"label":"a"}"#, r#"{ "label" : "a", "b": 1 }"#],
            ),
            (
                "/raw",
                "application/json",
                [r#"{"label":"a"}"#, r#"{ "label": "a" }"#],
            ),
            (
                "/intended",
                "application/json",
                [r#"{"label":"a","note":"b"}"#, r#"{"note":"c","label":"a"}"#],
            ),
            (
                "/form",
                "application/x-www-form-urlencoded",
                ["label=%61", "label=a"],
            ),
            ("/text", "text/plain", ["a", "b"]),
            ("/bytes", "application/octet-stream", ["a", ""]),
            ("/bodiless", "text/plain", ["a", "b"]),
            (
                "/value",
                "application/json",
                [r#"{"a":1,"b":[null]}"#, r#"{"b":[null],"a":1}"#],
            ),
            (
                "/numbers",
                "application/json",
                [
                    r#"{"integer":1,"float":1.0,"map":{}}"#,
                    r#"{"integer":1,"float":1,"map":{}}"#,
                ],
            ),
            (
                "/generated",
                "application/json",
                [r#"{"label":"a"}"#, r#"{"label":"a"}"#],
            ),
        ] {
            let request = self.fresh(target);
            for body in bodies {
                self.send(&request.clone().body(content_type, body)).await;
            }
        }
    }

    pub(super) async fn duplicates(&mut self) {
        self.rule = "C";
        for (target, opens_first) in [("/hasty", false), ("/patient", true)] {
            self.world.control.play([Scene::gated()]);
            let request = self.fresh(target);
            let gates = self.world.control.entries() + 1;
            let first = request.start();
            self.world.control.entered(gates).await;
            let duplicate = request.start();
            let duplicate = if opens_first {
                self.world.control.open(1);
                duplicate.await
            } else {
                let duplicate = duplicate.await;
                self.world.control.open(1);
                duplicate
            };
            self.see(&first.await);
            self.see(&duplicate);
        }
    }

    pub(super) async fn statuses(&mut self) {
        self.rule = "O status";
        for status in [
            200, 202, 203, 204, 205, 206, 301, 303, 304, 307, 400, 401, 402, 403, 404, 405, 408,
            409, 410, 412, 418, 422, 423, 425, 429, 451, 499, 500, 501, 503, 599,
        ] {
            for target in ["/effects", "/replays-success", "/replays-all"] {
                let reply = Reply::bytes(
                    status,
                    if matches!(status, 204 | 205 | 304) {
                        ""
                    } else {
                        "text"
                    },
                );
                let reply = reply.header("retry-after", "7");
                self.play_and_retry(target, Scene::answering(reply)).await;
            }
        }
        for settle in [Settle::Commit, Settle::Final, Settle::Retriable] {
            for status in [200, 402, 500] {
                let reply = Reply::new(status).settle(settle);
                self.play_and_retry("/effects", Scene::answering(reply))
                    .await;
            }
        }
    }

    pub(super) async fn outcomes(&mut self) {
        self.rule = "O";
        for acts in [
            vec![Act::Insert, Act::Panic],
            vec![Act::Insert, D::doom()],
            vec![Act::Insert, Act::run("COMMIT")],
            vec![Act::Insert, Act::run("ROLLBACK")],
            vec![
                Act::Insert,
                Act::swallow("INSERT INTO no_such_table VALUES (1)"),
            ],
            vec![Act::Insert, Act::Begin, Act::Nested(true)],
            vec![Act::Insert, Act::Hang],
            vec![Act::Insert, Act::AfterCommit],
        ] {
            self.play_and_retry("/bounded", Scene::new(acts)).await;
        }
    }

    pub(super) async fn limits(&mut self) {
        self.rule = "L";
        for reply in [
            Reply::bytes(200, [b'x'; 5001]),
            Reply::bytes(200, [b'x'; 5000]),
            Reply::new(200).body(Body::Stream(5000)),
            Reply::new(200).body(Body::Stream(5001)),
            Reply::new(200).body(Body::Broken),
        ] {
            self.play_and_retry("/effects", Scene::answering(reply))
                .await;
        }
        let endless = Reply::bytes(200, "").header("content-type", "text/event-stream");
        let endless = endless.body(Body::Endless(Arc::clone(&self.world.control)));
        self.play_and_retry("/bounded", Scene::answering(endless))
            .await;
    }

    /// Of records, of the database, and of the instance.
    pub(super) async fn ends(&mut self) {
        self.rule = "E";
        let request = self.fresh("/effects");
        self.send_twice(&request).await;
        self.world.expire().await;
        self.send_twice(&request).await;
        self.rule = "P";
        let changed = format!("UPDATE {} SET response = NULL WHERE state <> 3", D::RECORDS);
        self.world.run(changed).await;
        self.send(&request).await;
        let config = Config::new().with_problem_base("https://example.com/");
        let based = self.world.configured(config).await;
        self.send(&based.post("/effects").effect("a")).await;
        based.pool.close().await;
        self.send(&based.post("/effects").effect("a").key("k"))
            .await;
        self.instance.engine.drain().await;
        self.send(&request).await;
    }
}
