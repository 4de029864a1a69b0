//! The attempt runs on the request's task, and on one of its own once the client has left (rule O10).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Json, Router, routing::post};
use idem_axum::{Attempt, idempotent};
use sqlx::SqliteConnection;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::service::{Order, Service, Tenant, write};

tokio::task_local! {
    /// Bound to a request's task, as the hub of an error reporter is.
    static REQUEST: String;
}

async fn bind(request: Request, next: Next) -> Response {
    REQUEST.scope("bound".to_owned(), next.run(request)).await
}

#[idempotent(ttl = "1h", scope = "tenant")]
async fn bound(
    tx: &mut SqliteConnection,
    attempt: &Attempt,
    tenant: Tenant,
    Json(order): Json<Order>,
) -> Result<String, String> {
    let text = |error: sqlx::Error| error.to_string();
    write(tx, &order.item).await.map_err(text)?;
    let value = REQUEST.get();
    let registered = value.clone();
    attempt.after_commit(async move { drop(registered) });
    // After the statements, too.
    tokio::task::yield_now().await;
    Ok(format!("{} {value} {}", tenant.name, REQUEST.get()))
}

#[tokio::test]
async fn o10_a_handler_sees_the_values_of_the_requests_task() {
    let routes = Router::new()
        .route("/orders", post(bound))
        .layer(middleware::from_fn(bind));
    let service = Service::start(routes).await;
    let first = service.post("/orders", "k", r#"{"item":"book"}"#).await;
    first.ran("acme bound bound");
    let replay = service.post("/orders", "k", r#"{"item":"book"}"#).await;
    replay.replays(&first);
}

#[idempotent(ttl = "1h", scope = "tenant")]
async fn slow(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    Json(order): Json<Order>,
) -> Result<String, String> {
    for part in ["first", "second"] {
        let label = format!("{} {part}", order.item);
        write(tx, &label).await.map_err(|error| error.to_string())?;
        for _ in 0..8 {
            tokio::task::yield_now().await;
        }
    }
    Ok(tenant.name)
}

/// Polls a request so many times, and then drops it. Says whether it came to its end.
pub(crate) async fn leave_after(polls: usize, request: impl Future) -> bool {
    let mut request = pin!(request);
    let mut left = polls;
    poll_fn(|context| {
        if left == 0 {
            return Poll::Ready(false);
        }
        left -= 1;
        request.as_mut().poll(context).map(|_| true)
    })
    .await
}

#[tokio::test]
async fn o10_a_client_that_leaves_at_any_poll_leaves_a_whole_attempt() {
    let service = Service::start(Router::new().route("/orders", post(slow))).await;
    let mut polls = 0;
    loop {
        let (key, body) = (format!("k{polls}"), format!(r#"{{"item":"{polls}"}}"#));
        let ended = leave_after(polls, service.post("/orders", &key, &body)).await;
        let retry = timeout(
            Duration::from_secs(10),
            service.post("/orders", &key, &body),
        );
        assert_eq!(retry.await.expect("in time").text, "acme", "{polls} polls");
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

#[idempotent(ttl = "1h", scope = "tenant")]
async fn endless(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    axum::Extension(entered): axum::Extension<mpsc::UnboundedSender<()>>,
    Json(order): Json<Order>,
) -> Result<String, String> {
    let written = write(tx, &order.item).await;
    written.map_err(|error| error.to_string())?;
    entered.send(()).map_err(|error| error.to_string())?;
    std::future::pending::<()>().await;
    Ok(tenant.name)
}

#[test]
fn o10_nothing_is_half_done_when_the_runtime_ends() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("orders.sqlite");
    for leaves in [false, true] {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let (entered, mut entries) = mpsc::unbounded_channel::<()>();
            let routes = Router::new()
                .route("/orders", post(endless))
                .layer(axum::Extension(entered));
            let service = Service::start_on(routes, &file).await;
            let request =
                tokio::spawn(
                    async move { service.post("/orders", "k", r#"{"item":"book"}"#).await },
                );
            entries.recv().await.unwrap();
            if leaves {
                request.abort();
                assert!(request.await.is_err());
            }
        });
        drop(runtime);
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let service =
                Service::start_on(Router::new().route("/orders", post(slow)), &file).await;
            assert_eq!(service.orders.effects().await, [""; 0]);
            assert_eq!(service.orders.operations().await, [""; 0]);
        });
    }
}
