//! The same form on axum. The handler's own response sets the cookie of the flash message.

use axum::extract::Request;
use axum::http::header::{ACCEPT, RETRY_AFTER, SET_COOKIE};
use axum::middleware::{Next, from_fn};
use axum::response::{AppendHeaders, Html, IntoResponse, Redirect, Response};
use axum::routing::post;
use axum::{Extension, Form, Router};
use idem_axum::{Engine, Problem, Settle, SqliteStore, idempotent};
use sqlx::SqliteConnection;

use crate::newsletter::{NewIssue, UserId, insert_issue};
use crate::page::{explain, wants_page};

// recipe: handler
#[idempotent(
    ttl = "24h",
    scope = "user",
    key = "form.idempotency_key",
    record = cookie("flash")
)]
pub async fn publish(
    tx: &mut SqliteConnection,
    user: Extension<UserId>,
    Form(form): Form<NewIssue>,
) -> Result<Response, NotPublished> {
    if form.title.trim().is_empty() {
        return Err(NotPublished("untitled"));
    }
    insert_issue(tx, user.0.0, &form).await?;
    Ok(form_again("published").into_response())
}

/// The reason, as the value of the cookie.
pub struct NotPublished(&'static str);

impl IntoResponse for NotPublished {
    fn into_response(self) -> Response {
        (Extension(Settle::Retriable), form_again(self.0)).into_response()
    }
}

/// Redirects to the form. The form shows the message of the cookie, and deletes the cookie.
fn form_again(message: &str) -> impl IntoResponse + use<> {
    let cookie = format!("flash={message}; Path=/; HttpOnly; Secure; SameSite=Lax");
    (
        AppendHeaders([(SET_COOKIE, cookie)]),
        Redirect::to("/admin/newsletter"),
    )
}
// recipe: end

impl From<sqlx::Error> for NotPublished {
    fn from(_: sqlx::Error) -> Self {
        Self("failed")
    }
}

// recipe: problems
/// Answers a page in place of a problem document if the client is a browser.
pub async fn problems_as_pages(request: Request, next: Next) -> Response {
    let accept = request.headers().get(ACCEPT);
    let page = wants_page(accept.and_then(|value| value.to_str().ok()));
    let response = next.run(request).await;
    let problem = response.extensions().get::<Problem>().copied();
    match problem.filter(|_| page) {
        Some(problem) => {
            let retry_after = response.headers().get(RETRY_AFTER).cloned();
            let retry_after = retry_after.map(|value| [(RETRY_AFTER, value)]);
            (response.status(), retry_after, Html(explain(problem))).into_response()
        }
        None => response,
    }
}
// recipe: end

/// The route. Around it is a layer that knows the user.
pub fn routes() -> Router<Engine<SqliteStore>> {
    let publish = post(publish).layer(from_fn(problems_as_pages));
    Router::new().route("/admin/newsletter", publish)
}
