//! The form of a newsletter on actix-web.

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use actix_http::Request;
use actix_session::SessionMiddleware;
use actix_session::storage::CookieSessionStore;
use actix_web::body::MessageBody;
use actix_web::cookie::{Cookie, Key};
use actix_web::dev::{Service, ServiceResponse};
use actix_web::error::InternalError;
use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, CONTENT_TYPE, HeaderName, LOCATION, RETRY_AFTER};
use actix_web::middleware::from_fn;
use actix_web::{App, Error, HttpResponse, test, web};
use actix_web_flash_messages::FlashMessagesFramework;
use actix_web_flash_messages::storage::CookieMessageStore;
use idem_actix::{Engine, Settle, SqliteStore, idempotent};
use recipes::newsletter::{NewIssue, NotPublished, problems_as_pages, routes, see_other};
use serde::{Deserialize, Serialize};
use sqlx::{SqliteConnection, SqlitePool};
use uuid::Uuid;

use crate::newsletter_tables::{counts, create, execute};

const FORM: &str = "/admin/newsletter";
const PUBLISHED: &str = "<p><i>The issue is published.</i></p>";
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[derive(Serialize, Clone, Copy)]
struct Fields<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: Option<&'a str>,
    title: &'a str,
    content: &'a str,
}

const SPRING: Fields<'static> = Fields {
    idempotency_key: Some("6d1f3a52"),
    title: "Spring",
    content: "Sow peas.",
};

/// A person with a browser: it keeps cookies, and follows no redirect by itself.
struct Browser<S> {
    app: S,
    cookies: RefCell<Vec<Cookie<'static>>>,
}

impl<S, B> Browser<S>
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    async fn send(&self, request: test::TestRequest) -> ServiceResponse<B> {
        let request = request.insert_header((ACCEPT, BROWSER));
        let cookies = self.cookies.borrow().clone();
        let request = cookies.into_iter().fold(request, test::TestRequest::cookie);
        let response = test::call_service(&self.app, request.to_request()).await;
        let mut cookies = self.cookies.borrow_mut();
        for set in response.response().cookies() {
            cookies.retain(|cookie| cookie.name() != set.name());
            if !set.value().is_empty() {
                cookies.push(Cookie::new(set.name().to_owned(), set.value().to_owned()));
            }
        }
        drop(cookies);
        response
    }

    async fn post(&self, uri: &str, fields: impl Serialize) -> ServiceResponse<B> {
        let request = test::TestRequest::post().uri(uri).set_form(fields);
        self.send(request).await
    }

    async fn log_in(&self, user: Uuid) {
        let response = self.post("/login", [("user_id", user)]).await;
        assert_eq!(location(&response), FORM);
    }

    /// The form after a redirect, with the messages on it.
    async fn view(&self) -> String {
        let response = self.send(test::TestRequest::get().uri(FORM)).await;
        assert_eq!(response.status(), StatusCode::OK);
        text(response).await
    }

    /// Sends the form, follows the redirect, and returns the page and whether this was a replay.
    async fn submit(&self, fields: Fields<'_>) -> (String, bool) {
        let response = self.post(FORM, fields).await;
        assert_eq!(location(&response), FORM);
        let replayed = response.headers().contains_key("idempotency-replayed");
        (self.view().await, replayed)
    }
}

fn header<B>(response: &ServiceResponse<B>, name: HeaderName) -> &str {
    response.headers().get(name).unwrap().to_str().unwrap()
}

fn location<B>(response: &ServiceResponse<B>) -> &str {
    assert_eq!(response.status(), StatusCode::SEE_OTHER);
    header(response, LOCATION)
}

async fn text<B: MessageBody>(response: ServiceResponse<B>) -> String {
    String::from_utf8(test::read_body(response).await.to_vec()).unwrap()
}

async fn start(
    configure: fn(&mut web::ServiceConfig),
) -> (
    Browser<impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error>>,
    SqlitePool,
) {
    let store = SqliteStore::in_memory().await.unwrap();
    let pool = store.pool().clone();
    create(&pool).await;
    let engine = Engine::new(store);
    let key = Key::generate();
    let messages = CookieMessageStore::builder(key.clone()).build();
    let app = App::new()
        .configure(idem_actix::engine(engine))
        .configure(configure)
        .wrap(FlashMessagesFramework::builder(messages).build())
        .wrap(SessionMiddleware::new(CookieSessionStore::default(), key));
    let app = test::init_service(app).await;
    let cookies = RefCell::default();
    (Browser { app, cookies }, pool)
}

#[actix_web::test]
async fn a_form_that_is_sent_twice_publishes_once() {
    let (browser, pool) = start(routes).await;
    browser.log_in(Uuid::new_v4()).await;

    for expected in [false, true, true] {
        let (page, replayed) = browser.submit(SPRING).await;
        assert!(page.contains(PUBLISHED), "{page}");
        assert_eq!(replayed, expected);
        assert!(!browser.view().await.contains(PUBLISHED), "shown once");
    }
    assert_eq!(
        counts(&pool).await,
        (1, 2),
        "one delivery for each confirmed subscriber"
    );
    let emails = "SELECT email FROM deliveries ORDER BY email";
    let emails: Vec<String> = sqlx::query_scalar(emails).fetch_all(&pool).await.unwrap();
    assert_eq!(
        emails,
        ["ada@example.com", "eve@example.com"],
        "the third is not confirmed"
    );
}

#[actix_web::test]
async fn a_double_click_publishes_once_and_each_answer_has_the_message() {
    let (browser, pool) = start(routes).await;
    browser.log_in(Uuid::new_v4()).await;

    let post = || browser.post(FORM, SPRING);
    let (a, b, c) = tokio::join!(post(), post(), post());
    for response in [a, b, c] {
        assert_eq!(location(&response), FORM);
        let mut set = response.response().cookies();
        assert!(
            set.any(|cookie| cookie.name() == "_flash" && cookie.value().contains("published"))
        );
    }
    assert!(browser.view().await.contains(PUBLISHED));
    assert_eq!(counts(&pool).await, (1, 2));
}

#[actix_web::test]
async fn each_form_has_a_key_of_its_own_and_each_key_is_an_issue() {
    let (browser, pool) = start(routes).await;
    browser.log_in(Uuid::new_v4()).await;

    let field = r#"name="idempotency_key" value=""#;
    for _ in 0..2 {
        let page = browser.view().await;
        let key = page.split_once(field).unwrap().1.split('"').next();
        let (page, replayed) = browser
            .submit(Fields {
                idempotency_key: key,
                ..SPRING
            })
            .await;
        assert!(page.contains(PUBLISHED) && !replayed, "{page}");
    }
    assert_eq!(counts(&pool).await, (2, 4));
}

#[actix_web::test]
async fn who_is_not_signed_in_is_sent_to_the_login() {
    let (browser, pool) = start(routes).await;
    for _ in 0..2 {
        assert_eq!(location(&browser.post(FORM, SPRING).await), "/login");
        let view = browser.send(test::TestRequest::get().uri(FORM)).await;
        assert_eq!(location(&view), "/login");
    }
    assert_eq!(counts(&pool).await, (0, 0));
    browser.log_in(Uuid::new_v4()).await;
    assert!(
        !browser.submit(SPRING).await.1,
        "nothing was recorded before"
    );
}

#[actix_web::test]
async fn a_retry_after_a_new_login_gets_the_same_answer() {
    let (browser, pool) = start(routes).await;
    let user = Uuid::new_v4();
    browser.log_in(user).await;
    assert!(!browser.submit(SPRING).await.1);

    assert_eq!(location(&browser.post("/logout", ()).await), "/login");
    assert_eq!(location(&browser.post(FORM, SPRING).await), "/login");
    browser.log_in(user).await;
    let (page, replayed) = browser.submit(SPRING).await;
    assert!(page.contains(PUBLISHED) && replayed, "{page}");
    assert_eq!(counts(&pool).await, (1, 2));

    browser.log_in(Uuid::new_v4()).await;
    assert!(!browser.submit(SPRING).await.1, "another user's key");
    assert_eq!(counts(&pool).await, (2, 4));
}

#[actix_web::test]
async fn m4_a_form_that_was_refused_is_corrected_under_its_key() {
    let (browser, pool) = start(routes).await;
    browser.log_in(Uuid::new_v4()).await;

    for _ in 0..2 {
        let (page, replayed) = browser
            .submit(Fields {
                title: " ",
                ..SPRING
            })
            .await;
        assert!(
            page.contains("<p><i>An issue needs a title.</i></p>"),
            "{page}"
        );
        assert!(!replayed, "a refusal is not recorded");
    }
    let (page, _) = browser.submit(SPRING).await;
    assert!(page.contains(PUBLISHED), "{page}");
    assert_eq!(counts(&pool).await, (1, 2));
}

#[actix_web::test]
async fn a_retry_after_a_failure_of_the_database_delivers_once() {
    let (browser, pool) = start(routes).await;
    browser.log_in(Uuid::new_v4()).await;

    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON deliveries WHEN NEW.email LIKE 'eve%' \
                  BEGIN SELECT RAISE(FAIL, 'no'); END";
    execute(&pool, refuse).await;
    let (page, _) = browser.submit(SPRING).await;
    assert!(page.contains("Send the form again."), "{page}");
    assert_eq!(
        counts(&pool).await,
        (0, 0),
        "the writes before the failure are undone"
    );

    execute(&pool, "DROP TRIGGER refuse").await;
    for expected in [false, true] {
        let (page, replayed) = browser.submit(SPRING).await;
        assert!(page.contains(PUBLISHED), "{page}");
        assert_eq!(replayed, expected);
    }
    assert_eq!(counts(&pool).await, (1, 2));
}

#[actix_web::test]
async fn o10_a_browser_that_leaves_gets_the_answer_and_the_message_later() {
    let (browser, pool) = start(routes).await;
    browser.log_in(Uuid::new_v4()).await;

    let mut polls = 0;
    loop {
        let key = format!("6d1f3a52-{polls}");
        let fields = Fields {
            idempotency_key: Some(&key),
            ..SPRING
        };
        let left = {
            let mut post = pin!(browser.post(FORM, fields));
            let mut left = true;
            for _ in 0..=polls {
                let ready = poll_fn(|context| Poll::Ready(post.as_mut().poll(context).is_ready()));
                if ready.await {
                    left = false;
                    break;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            left
        };
        let (page, _) = browser.submit(fields).await;
        assert!(page.contains(PUBLISHED), "{polls} polls: {page}");
        polls += 1;
        assert_eq!(counts(&pool).await, (polls, 2 * polls));
        if !left {
            break;
        }
    }
    assert!(polls > 2, "{polls}");
    let attempts = "SELECT max(attempts) FROM idem_records";
    let attempts: i64 = sqlx::query_scalar(attempts).fetch_one(&pool).await.unwrap();
    assert_eq!(attempts, 1, "no attempt was undone");
}

/// Writes an issue without deliveries.
async fn write(tx: &mut SqliteConnection) -> Result<(), NotPublished> {
    let insert = "INSERT INTO issues (author, title, content) VALUES ('', '', '')";
    sqlx::query(insert).execute(tx).await?;
    Ok(())
}

/// What an `Err` is without `Settle::Retriable`.
#[idempotent(ttl = "24h", unscoped, key = "form.idempotency_key")]
async fn err(tx: &mut SqliteConnection, form: web::Form<NewIssue>) -> Result<HttpResponse, Error> {
    write(tx).await?;
    if form.title.is_empty() {
        return Err(InternalError::from_response("", see_other("/refused")).into());
    }
    Ok(see_other("/done"))
}

/// One type for all answers.
#[idempotent(ttl = "24h", unscoped, key = "form.idempotency_key")]
async fn marked(tx: &mut SqliteConnection, form: web::Form<NewIssue>) -> HttpResponse {
    if write(tx).await.is_err() || form.title.is_empty() {
        let mut refused = see_other("/refused");
        refused.extensions_mut().insert(Settle::Retriable);
        return refused;
    }
    see_other("/done")
}

/// The mistake: nothing says that this redirect is a failure.
#[idempotent(ttl = "24h", unscoped, key = "_form.idempotency_key")]
async fn unmarked(
    tx: &mut SqliteConnection,
    _form: web::Form<NewIssue>,
) -> Result<HttpResponse, NotPublished> {
    write(tx).await?;
    Ok(see_other("/refused"))
}

#[actix_web::test]
async fn o2_o15_m4_a_redirect_is_a_failure_if_it_is_an_err_or_says_so() {
    let (browser, pool) = start(|config| {
        config
            .route("/err", web::post().to(err))
            .route("/marked", web::post().to(marked))
            .route("/unmarked", web::post().to(unmarked));
    })
    .await;
    let untitled = Fields {
        title: "",
        ..SPRING
    };
    let replayed =
        |response: &ServiceResponse<_>| response.headers().contains_key("idempotency-replayed");

    for again in [false, true] {
        let refused = browser.post("/err", untitled).await;
        assert_eq!(
            (location(&refused), replayed(&refused)),
            ("/refused", again)
        );
    }
    let corrected = browser.post("/err", SPRING).await;
    assert_eq!(
        corrected.status(),
        StatusCode::UNPROCESSABLE_ENTITY,
        "the key is used up"
    );
    assert_eq!(counts(&pool).await.0, 0, "undone");

    for _ in 0..2 {
        let refused = browser.post("/marked", untitled).await;
        assert_eq!(
            (location(&refused), replayed(&refused)),
            ("/refused", false)
        );
    }
    assert_eq!(counts(&pool).await.0, 0, "undone");
    assert_eq!(location(&browser.post("/marked", SPRING).await), "/done");
    assert_eq!(counts(&pool).await.0, 1);

    browser.post("/unmarked", untitled).await;
    assert_eq!(
        counts(&pool).await.0,
        2,
        "a redirect in an `Ok` is a success"
    );
}

#[derive(Serialize, Deserialize)]
struct Keyed {
    idempotency_key: Option<String>,
}

#[idempotent(ttl = "24h", unscoped, key = "_form.idempotency_key", wait = "0s")]
async fn slow(
    tx: &mut SqliteConnection,
    _form: web::Form<Keyed>,
) -> Result<HttpResponse, NotPublished> {
    write(tx).await?;
    tokio::time::sleep(Duration::from_millis(300)).await;
    Ok(see_other("/done"))
}

#[actix_web::test]
async fn p4_a_problem_is_a_page_for_a_browser_and_json_for_others() {
    let (browser, pool) = start(|config| {
        let resource = web::resource("/slow").wrap(from_fn(problems_as_pages));
        config.configure(routes).service(resource.post(slow));
    })
    .await;
    browser.log_in(Uuid::new_v4()).await;
    browser.submit(SPRING).await;

    let (no_key, empty_key) = (
        Fields {
            idempotency_key: None,
            ..SPRING
        },
        Fields {
            idempotency_key: Some(""),
            ..SPRING
        },
    );
    let missing = browser.post("/slow", no_key).await;
    is_page(missing, StatusCode::BAD_REQUEST, "Open the form again").await;
    let incomplete = browser.post(FORM, no_key).await;
    assert_eq!(incomplete.status(), StatusCode::BAD_REQUEST);
    assert!(
        text(incomplete)
            .await
            .contains("missing field `idempotency_key`")
    );
    let malformed = browser.post(FORM, empty_key).await;
    is_page(malformed, StatusCode::BAD_REQUEST, "Open the form again").await;
    let reused = browser
        .post(
            FORM,
            Fields {
                title: "Autumn",
                ..SPRING
            },
        )
        .await;
    is_page(
        reused,
        StatusCode::UNPROCESSABLE_ENTITY,
        "sent before, with another content",
    )
    .await;

    let post = || browser.post("/slow", SPRING);
    let (first, second) = tokio::join!(post(), post());
    let (done, in_flight) = if first.status() == StatusCode::CONFLICT {
        (second, first)
    } else {
        (first, second)
    };
    assert_eq!(location(&done), "/done");
    assert_eq!(header(&in_flight, RETRY_AFTER), "1");
    is_page(in_flight, StatusCode::CONFLICT, "Reload this page").await;
    assert_eq!(counts(&pool).await, (2, 2));

    for accept in ["application/json, text/html;q=0.9", "*/*"] {
        let request = test::TestRequest::post().uri("/slow").set_form(no_key);
        let request = request.insert_header((ACCEPT, accept)).to_request();
        let response = test::call_service(&browser.app, request).await;
        assert_eq!(
            header(&response, CONTENT_TYPE),
            "application/problem+json",
            "{accept}"
        );
    }
}

async fn is_page<B: MessageBody>(response: ServiceResponse<B>, status: StatusCode, words: &str) {
    assert_eq!(response.status(), status);
    assert_eq!(header(&response, CONTENT_TYPE), "text/html; charset=utf-8");
    let page = text(response).await;
    assert!(page.contains(words), "{page}");
}
