//! The attempt runs on the request's task, and on another of its worker once the client has left
//! (rule O10).

use std::time::Duration;

use actix_web::dev::Service as _;
use actix_web::{test, web};
use idem_actix::{Attempt, idempotent};
use sqlx::SqliteConnection;
use tokio::time::timeout;

use super::service::start;
use crate::service::{Order, write};
use crate::task::leave_after;

tokio::task_local! {
    /// Bound to a request's task, as the hub of an error reporter is.
    static REQUEST: String;
}

#[idempotent(ttl = "1h", unscoped)]
async fn bound(tx: &mut SqliteConnection, attempt: &Attempt, order: web::Json<Order>) -> String {
    let written = write(tx, &order.item).await;
    let value = REQUEST.get();
    let registered = value.clone();
    attempt.after_commit(async move { drop(registered) });
    tokio::task::yield_now().await;
    format!("{} {value} {}", written.is_ok(), REQUEST.get())
}

#[actix_web::test]
async fn o10_a_handler_sees_the_values_of_the_requests_task() {
    let service = start(|config| {
        let routes = web::scope("/bound")
            .wrap_fn(|request, next| REQUEST.scope("bound".to_owned(), next.call(request)));
        config.service(routes.route("/orders", web::post().to(bound)));
    })
    .await;
    let first = service
        .post("/bound/orders", "k", r#"{"item":"book"}"#)
        .await;
    first.ran("true bound bound");
    let replay = service
        .post("/bound/orders", "k", r#"{"item":"book"}"#)
        .await;
    replay.replays(&first);
}

#[idempotent(ttl = "1h", unscoped)]
async fn slow(tx: &mut SqliteConnection, order: web::Json<Order>) -> String {
    for part in ["first", "second"] {
        let label = format!("{} {part}", order.item);
        if let Err(error) = write(tx, &label).await {
            return error.to_string();
        }
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
    "done".to_owned()
}

#[actix_web::test]
async fn o10_a_client_that_leaves_at_any_poll_leaves_a_whole_attempt() {
    let routes = web::post().to(slow);
    let service = start(|config| {
        config.route("/orders", routes);
    })
    .await;
    let mut polls = 0;
    loop {
        let (key, body) = (format!("k{polls}"), format!(r#"{{"item":"{polls}"}}"#));
        let ended = leave_after(polls, service.post("/orders", &key, &body)).await;
        let retry = timeout(
            Duration::from_secs(10),
            service.post("/orders", &key, &body),
        );
        assert_eq!(retry.await.expect("in time").text, "done", "{polls} polls");
        let effects = service.orders.effects().await;
        let expected = [format!("{polls} first"), format!("{polls} second")];
        assert_eq!(effects[2 * polls..], expected, "once, and both");
        polls += 1;
        if ended {
            break;
        }
    }
    assert!(polls > 10, "an attempt takes more than {polls} polls");
}

#[actix_web::test]
async fn o10_a_drain_waits_for_an_attempt_whose_client_has_left() {
    let orders = crate::service::Database::create().await;
    let engine = idem_actix::Engine::new(orders.store.clone());
    let app = actix_web::App::new()
        .configure(idem_actix::engine(engine.clone()))
        .route("/orders", web::post().to(slow));
    let app = test::init_service(app).await;
    let request = super::service::request("/orders", "k").set_payload(r#"{"item":"book"}"#);
    assert!(!leave_after(3, app.call(request.to_request())).await);
    engine.drain().await;
    assert_eq!(orders.effects().await, ["book first", "book second"]);
}
