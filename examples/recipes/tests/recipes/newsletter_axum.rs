//! The form of a newsletter on axum.

use axum::body::{Body, to_bytes};
use axum::http::header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER, SET_COOKIE};
use axum::http::{Request, StatusCode};
use axum::middleware::from_fn;
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Form, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use recipes::newsletter::UserId;
use recipes::newsletter_axum::{problems_as_pages, routes};
use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, SqlitePool};
use tokio::time::{Duration, sleep};
use tower::ServiceExt as _;
use uuid::Uuid;

use crate::newsletter_tables::{counts, create, execute};

const FORM: &str = "/admin/newsletter";
const SPRING: &str = "idempotency_key=6d1f3a52&title=Spring&content=Sow+peas.";

async fn start() -> (Router, SqlitePool) {
    let store = SqliteStore::in_memory().await.unwrap();
    let pool = store.pool().clone();
    create(&pool).await;
    let slow = post(slow).layer(from_fn(problems_as_pages));
    let routes = routes().route("/slow", slow);
    let user = Extension(UserId(Uuid::new_v4()));
    (routes.layer(user).with_state(Engine::new(store)), pool)
}

async fn submit(app: &Router, path: &str, accept: &str, form: &str) -> Response {
    let request = Request::post(path)
        .header(ACCEPT, accept)
        .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(Body::from(form.to_owned()));
    app.clone().oneshot(request.unwrap()).await.unwrap()
}

/// The redirect to the form.
fn redirects(response: &Response) {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    assert_eq!(response.headers()[LOCATION], FORM);
}

fn flash(response: &Response) -> &str {
    let cookie = response.headers()[SET_COOKIE].to_str().unwrap();
    cookie.split_once(';').unwrap().0
}

#[tokio::test]
async fn a_form_that_is_sent_twice_publishes_once() {
    let (app, pool) = start().await;
    let first = submit(&app, FORM, "text/html", SPRING).await;
    redirects(&first);
    assert_eq!(flash(&first), "flash=published");

    let again = submit(&app, FORM, "text/html", SPRING).await;
    redirects(&again);
    assert_eq!(again.headers()["idempotency-replayed"], "true");
    assert_eq!(flash(&again), "flash=published");
    assert_eq!(counts(&pool).await, (1, 2));
}

#[tokio::test]
async fn m4_a_form_that_was_refused_is_corrected_under_its_key() {
    let (app, pool) = start().await;
    let untitled = SPRING.replace("Spring", "+");
    for _ in 0..2 {
        let refused = submit(&app, FORM, "text/html", &untitled).await;
        redirects(&refused);
        assert_eq!(
            flash(&refused),
            "flash=untitled",
            "a refusal is not recorded"
        );
    }
    execute(&pool, "ALTER TABLE deliveries RENAME TO away").await;
    let failed = submit(&app, FORM, "text/html", SPRING).await;
    redirects(&failed);
    assert_eq!(flash(&failed), "flash=failed");

    execute(&pool, "ALTER TABLE away RENAME TO deliveries").await;
    assert_eq!(counts(&pool).await, (0, 0), "undone");
    let published = submit(&app, FORM, "text/html", SPRING).await;
    assert_eq!(flash(&published), "flash=published");
    assert_eq!(counts(&pool).await, (1, 2));
}

#[derive(Serialize, Deserialize)]
struct Keyed {
    idempotency_key: Option<String>,
}

#[idempotent(ttl = "24h", unscoped, key = "_form.idempotency_key", wait = "0s")]
async fn slow(_tx: &mut SqliteConnection, Form(_form): Form<Keyed>) -> &'static str {
    sleep(Duration::from_millis(300)).await;
    "done"
}

#[tokio::test]
async fn p4_a_problem_is_a_page_for_a_browser_and_json_for_others() {
    let (app, _pool) = start().await;
    submit(&app, FORM, "text/html", SPRING).await;

    let missing = submit(&app, "/slow", "text/html, */*;q=0.8", "title=Spring").await;
    is_page(missing, StatusCode::BAD_REQUEST, "Open the form again").await;
    let autumn = SPRING.replace("Spring", "Autumn");
    let reused = submit(&app, FORM, "text/html", &autumn).await;
    is_page(
        reused,
        StatusCode::UNPROCESSABLE_ENTITY,
        "sent before, with another content",
    )
    .await;
    for accept in ["application/json, text/html;q=0.9", "*/*"] {
        let reused = submit(&app, FORM, accept, &autumn).await;
        assert_eq!(
            reused.headers()[CONTENT_TYPE],
            "application/problem+json",
            "{accept}"
        );
    }

    let post = || submit(&app, "/slow", "text/html", SPRING);
    let (first, second) = tokio::join!(post(), post());
    let in_flight = if first.status() == StatusCode::CONFLICT {
        first
    } else {
        second
    };
    assert_eq!(in_flight.headers()[RETRY_AFTER], "1");
    is_page(in_flight, StatusCode::CONFLICT, "Reload this page").await;
}

async fn is_page(response: Response, status: StatusCode, words: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(response.headers()[CONTENT_TYPE], "text/html; charset=utf-8");
    let page = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let page = String::from_utf8(page.to_vec()).unwrap();
    assert!(page.contains(words), "{page}");
}
