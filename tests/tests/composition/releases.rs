//! Two releases of a service run at once, on one database: the table of *Deploying changes* in
//! `docs/operating.md`. The earlier release is on axum and the later ones on actix-web, so both frameworks have to
//! bind a body in the same way.

use actix_web::web;
use axum::routing::post;
use axum::{Json, Router};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use crate::actix::service::start_on;
use crate::service::{Answer, App, Service, write};

trait Body: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What the handler answers, in this release.
    fn answer(&self) -> String;
}

#[derive(Serialize, Deserialize)]
struct Before {
    item: String,
    count: u32,
}

impl Body for Before {
    fn answer(&self) -> String {
        format!("{} {}", self.count, self.item)
    }
}

/// Has a wider number and another optional field.
#[derive(Serialize, Deserialize)]
struct Wider {
    count: u64,
    item: String,
    note: Option<String>,
}

impl Body for Wider {
    fn answer(&self) -> String {
        format!("{} of {}, {:?}", self.count, self.item, self.note)
    }
}

/// Has another field that is always there.
#[derive(Serialize, Deserialize)]
struct Longer {
    item: String,
    count: u32,
    #[serde(default)]
    note: String,
}

impl Body for Longer {
    fn answer(&self) -> String {
        format!("{} of {}, {}", self.count, self.item, self.note)
    }
}

#[idem_axum::idempotent(ttl = "24h", unscoped, body = "order")]
async fn earlier<B: Body>(tx: &mut SqliteConnection, Json(order): Json<B>) -> String {
    write(tx, &order.answer()).await.expect("writes");
    order.answer()
}

#[idem_actix::idempotent(ttl = "24h", unscoped, body = "order")]
async fn later<B: Body>(tx: &mut SqliteConnection, order: web::Json<B>) -> String {
    write(tx, &order.answer()).await.expect("writes");
    order.answer()
}

const ORDER: &str = r#"{"item": "book", "count": 2}"#;
/// The same in other bytes.
const FORMATTED: &str = r#"{"count":2,"item":"book"}"#;
/// A field that the earlier release ignores.
const NOTED: &str = r#"{"item": "book", "count": 2, "note": "a gift"}"#;
const OTHER: &str = r#"{"item": "book", "count": 3}"#;

/// Posts to the earlier release, then to the later one; and the other way round under another key.
macro_rules! both_ways {
    ($earlier:ident $later:ident $name:literal, $first:ident then $retry:ident: $holds:path) => {
        let key = concat!($name, "1");
        let first = $earlier.post("/orders", key, $first).await;
        first.ran(&first.text);
        $holds(&$later.post("/orders", key, $retry).await, &first);
        let key = concat!($name, "2");
        let first = $later.post("/orders", key, $first).await;
        first.ran(&first.text);
        $holds(&$earlier.post("/orders", key, $retry).await, &first);
    };
}

fn refuses(answer: &Answer, _: &Answer) {
    answer.is_of_another_request();
}

#[actix_web::test]
async fn f3_two_releases_with_other_bodies_have_one_effect() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("orders.sqlite");
    let routes: Router<App> = Router::new().route("/orders", post(earlier::<Before>));
    let before = Service::start_on(routes, &file).await;
    let wider = start_on(&file, |config| {
        config.route("/orders", web::post().to(later::<Wider>));
    });
    let wider = wider.await;
    let longer = start_on(&file, |config| {
        config.route("/orders", web::post().to(later::<Longer>));
    });
    let longer = longer.await;

    both_ways!(before wider "a", ORDER then ORDER: Answer::replays);
    both_ways!(before wider "b", ORDER then FORMATTED: Answer::replays);
    both_ways!(before wider "c", NOTED then NOTED: Answer::replays);
    both_ways!(before wider "d", ORDER then OTHER: refuses);
    both_ways!(before longer "e", ORDER then ORDER: Answer::replays);
    both_ways!(before longer "f", ORDER then FORMATTED: refuses);
    both_ways!(before longer "g", NOTED then NOTED: Answer::replays);
    assert_eq!(before.orders.effects().await.len(), 14);
}
