//! What a layer or a middleware around an endpoint can do with answers that are not the handler's.

use actix_web::body::MessageBody;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Error, HttpResponse, web};
use axum::Router;
use axum::middleware::map_response;
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::post;
use idem_core::{Problem, Replayed};
use sqlx::SqliteConnection;

use crate::actix::service as actix;
use crate::service::{Answer, Service, write};

mod on_axum {
    use idem_axum::idempotent;

    use super::{SqliteConnection, write};

    #[idempotent(ttl = "1h", unscoped)]
    pub(super) async fn buy(tx: &mut SqliteConnection, item: String) -> String {
        write(tx, &item).await.expect("a row");
        item
    }
}

mod on_actix {
    use idem_actix::idempotent;

    use super::{SqliteConnection, write};

    #[idempotent(ttl = "1h", unscoped)]
    pub(super) async fn buy(tx: &mut SqliteConnection, item: String) -> String {
        write(tx, &item).await.expect("a row");
        item
    }
}

/// The page of a problem, for a person.
fn page(problem: Problem) -> String {
    format!(
        "<h1>{}, new key: {}</h1>",
        problem.name(),
        problem.safe_new_key()
    )
}

/// The mark of a replay.
fn mark(replayed: &Replayed) -> String {
    assert!(replayed.age.as_secs() < 60);
    "again".to_owned()
}

async fn render(response: Response) -> Response {
    if let Some(problem) = response.extensions().get::<Problem>() {
        return (response.status(), Html(page(*problem))).into_response();
    }
    match response.extensions().get::<Replayed>() {
        Some(replayed) => {
            let text = mark(replayed);
            (response.status(), text).into_response()
        }
        None => response,
    }
}

async fn render_on_actix(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let answered = next.call(request).await?;
    let response = answered.response();
    let (problem, replayed) = {
        let extensions = response.extensions();
        (
            extensions.get::<Problem>().copied(),
            extensions.get::<Replayed>().copied(),
        )
    };
    let mut rendered = HttpResponse::build(response.status());
    Ok(match (problem, replayed) {
        (Some(problem), _) => {
            let page = rendered.content_type("text/html").body(page(problem));
            answered.into_response(page).map_into_boxed_body()
        }
        (None, Some(replayed)) => {
            let text = rendered.body(mark(&replayed));
            answered.into_response(text).map_into_boxed_body()
        }
        (None, None) => answered.map_into_boxed_body(),
    })
}

/// A first request, a replay of it, a mismatch, and a request with a bad key.
async fn are_rendered(post: impl AsyncFn(&str, &str) -> Answer) {
    post("k", "tea").await.ran("tea");
    let texts = [
        post("k", "tea").await,
        post("k", "cake").await,
        post("k k", "tea").await,
    ];
    let texts = texts.map(|answer| answer.text);
    let expected = [
        "again",
        "<h1>key-reused, new key: false</h1>",
        "<h1>key-malformed, new key: true</h1>",
    ];
    assert_eq!(texts, expected);
}

#[tokio::test]
async fn p4_r5_a_layer_renders_problems_and_marks_replays_on_axum() {
    let routes = Router::new().route("/buy", post(on_axum::buy).layer(map_response(render)));
    let service = Service::start(routes).await;
    are_rendered(async |key, item| service.post("/buy", key, item).await).await;
    assert_eq!(service.orders.effects().await, ["tea"]);
}

#[actix_web::test]
async fn p4_r5_a_middleware_renders_problems_and_marks_replays_on_actix() {
    let service = actix::start(|config| {
        let resource = web::resource("/buy").wrap(from_fn(render_on_actix));
        config.service(resource.route(web::post().to(on_actix::buy)));
    })
    .await;
    are_rendered(async |key, item| service.post("/buy", key, item).await).await;
    assert_eq!(service.orders.effects().await, ["tea"]);
}
