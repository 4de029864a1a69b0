//! A form that publishes an issue of a newsletter, on actix-web, with a session and flash messages.
#![expect(clippy::missing_errors_doc, reason = "the middlewares pass errors on")]

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use actix_session::Session;
use actix_web::body::{BoxBody, MessageBody};
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{ACCEPT, CONTENT_TYPE, HeaderValue, LOCATION};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpMessage as _, HttpResponse, ResponseError, web};
use actix_web_flash_messages::{FlashMessage, IncomingFlashMessages};
use idem_actix::{Problem, Replayed, Scope, Settle, idempotent};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;
use uuid::Uuid;

use crate::page::{explain, wants_page};

// recipe: handler
/// The form. `Serialize` binds it to its key.
#[derive(Serialize, Deserialize)]
pub struct NewIssue {
    /// The hidden field.
    pub idempotency_key: String,
    /// The title, which the issue needs.
    pub title: String,
    /// The text.
    pub content: String,
}

#[idempotent(ttl = "24h", scope = "user", key = "form.idempotency_key")]
pub async fn publish(
    tx: &mut SqliteConnection,
    user: web::ReqData<UserId>,
    form: web::Form<NewIssue>,
) -> Result<HttpResponse, NotPublished> {
    if form.title.trim().is_empty() {
        return Err(NotPublished("An issue needs a title."));
    }
    insert_issue(tx, **user, &form).await?; // the issue, and one delivery for each subscriber
    let mut response = see_other("/admin/newsletter");
    response.extensions_mut().insert(published());
    Ok(response)
}

/// The reason, for the author. It is shown above the form.
#[derive(Debug)]
pub struct NotPublished(&'static str);

impl ResponseError for NotPublished {
    fn error_response(&self) -> HttpResponse {
        let mut response = see_other("/admin/newsletter");
        response
            .extensions_mut()
            .insert(FlashMessage::error(self.0));
        // Without this line a redirect is a final failure: it is replayed.
        response.extensions_mut().insert(Settle::Retriable);
        response
    }
}
// recipe: end

impl From<sqlx::Error> for NotPublished {
    fn from(_: sqlx::Error) -> Self {
        Self("The issue could not be saved. Send the form again.")
    }
}

impl fmt::Display for NotPublished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Writes the issue, and a delivery for each confirmed subscriber. A worker sends the deliveries.
pub(crate) async fn insert_issue(
    tx: &mut SqliteConnection,
    author: Uuid,
    issue: &NewIssue,
) -> sqlx::Result<()> {
    let insert = "INSERT INTO issues (author, title, content) VALUES ($1, $2, $3) RETURNING id";
    let id: i64 = sqlx::query_scalar(insert)
        .bind(author.to_string())
        .bind(&issue.title)
        .bind(&issue.content)
        .fetch_one(&mut *tx)
        .await?;
    let enqueue = "INSERT INTO deliveries (issue, email) \
                   SELECT $1, email FROM subscribers WHERE status = 'confirmed'";
    sqlx::query(enqueue).bind(id).execute(tx).await.map(drop)
}

// recipe: flash
fn published() -> FlashMessage {
    FlashMessage::info("The issue is published.")
}

/// Sends the message of a first answer, and the one of a success on its replays.
async fn flash(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let answered = next.call(request).await?;
    let message = {
        let extensions = answered.response().extensions();
        match extensions.get::<FlashMessage>() {
            None if extensions.contains::<Replayed>() && answered.status().is_redirection() => {
                Some(published())
            }
            message => message.cloned(),
        }
    };
    if let Some(message) = message {
        message.send();
    }
    Ok(answered)
}
// recipe: end

// recipe: user
/// The owner of the keys. The session's own id changes at the next login, and the user's id doesn't.
#[derive(Clone, Copy)]
pub struct UserId(pub Uuid);

impl Scope for UserId {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Owned(self.0.to_string())
    }
}

/// Lets signed-in users in.
async fn signed_in(
    session: Session,
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    match session.get("user_id")? {
        Some(user) => {
            request.extensions_mut().insert(UserId(user));
            Ok(next.call(request).await?.map_into_boxed_body())
        }
        None => Ok(request.into_response(see_other("/login"))),
    }
}
// recipe: end

impl Deref for UserId {
    type Target = Uuid;

    fn deref(&self) -> &Uuid {
        &self.0
    }
}

/// A redirect after a form.
pub fn see_other(location: &'static str) -> HttpResponse {
    HttpResponse::SeeOther()
        .insert_header((LOCATION, location))
        .finish()
}

// recipe: problems
/// Answers a page in place of a problem document if the client is a browser.
pub async fn problems_as_pages(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    let accept = request.headers().get(ACCEPT);
    let page = wants_page(accept.and_then(|value| value.to_str().ok()));
    let answered = next.call(request).await?;
    let problem = answered.response().extensions().get::<Problem>().copied();
    Ok(match problem.filter(|_| page) {
        // The status and the other headers stay, `Retry-After` among them.
        Some(problem) => answered.map_body(|head, _| {
            let html = HeaderValue::from_static("text/html; charset=utf-8");
            head.headers_mut().insert(CONTENT_TYPE, html);
            BoxBody::new(format!("<!doctype html><p>{}</p>", explain(problem)))
        }),
        None => answered.map_into_boxed_body(),
    })
}
// recipe: end

/// The form, with a new key on each view.
async fn form(messages: IncomingFlashMessages) -> HttpResponse {
    let mut shown = String::new();
    for message in messages.iter() {
        shown += "<p><i>";
        shown += message.content();
        shown += "</i></p>";
    }
    let key = Uuid::new_v4();
    HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .body(format!(
            r#"<!doctype html>{shown}
<form action="/admin/newsletter" method="post">
  <input type="hidden" name="idempotency_key" value="{key}">
  <input name="title"> <textarea name="content"></textarea> <button>Publish</button>
</form>"#
        ))
}

/// In place of a login form and a check of the password.
async fn login(session: Session, user: web::Form<Login>) -> Result<HttpResponse, Error> {
    session.renew();
    session.insert("user_id", user.user_id)?;
    Ok(see_other("/admin/newsletter"))
}

#[derive(Deserialize)]
struct Login {
    user_id: Uuid,
}

async fn logout(session: Session) -> HttpResponse {
    session.purge();
    see_other("/login")
}

/// All routes. Around them are the middlewares of the sessions and of the flash messages.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::scope("/admin")
                .wrap(from_fn(signed_in))
                .configure(admin),
        )
        .route("/login", web::post().to(login))
        .route("/logout", web::post().to(logout));
}

// recipe: routes
/// The routes of those who are signed in.
fn admin(config: &mut web::ServiceConfig) {
    let newsletter = web::resource("/newsletter")
        .wrap(from_fn(flash))
        .wrap(from_fn(problems_as_pages));
    config.service(newsletter.get(form).post(publish));
}
// recipe: end
