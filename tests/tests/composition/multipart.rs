//! Uploads are bound by their parts.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use futures_util::stream;
use idem_axum::{Multipart, MultipartLimits, PartContent, PartHead, Sink, idempotent};
use sqlx::SqliteConnection;

use crate::service::{App, Service, write};

#[idempotent(ttl = "24h", unscoped)]
async fn upload(tx: &mut SqliteConnection, form: Multipart) -> String {
    let mut text = String::new();
    for part in &form.parts {
        let bytes = part.content.bytes().await.expect("a readable part");
        let name = part.head.name.as_deref().unwrap_or_default();
        text.extend([name, "=", &String::from_utf8_lossy(&bytes), " "]);
    }
    write(tx, &text).await.expect("a row");
    text
}

#[idempotent(ttl = "24h", unscoped)]
async fn result(tx: &mut SqliteConnection, form: Result<Multipart, Response>) -> Response {
    match form {
        Ok(_) => {
            write(tx, "uploaded").await.expect("a row");
            Response::new("uploaded".into())
        }
        Err(rejection) => rejection,
    }
}

#[idempotent(ttl = "24h", unscoped, fingerprint = "raw")]
async fn raw(_: &mut SqliteConnection, _form: Multipart) -> &'static str {
    "uploaded"
}

fn first_name(form: &Multipart) -> Option<&str> {
    form.parts.first()?.head.file_name.as_deref()
}

#[idempotent(ttl = "24h", unscoped, fingerprint = first_name)]
async fn named(_: &mut SqliteConnection, _form: Multipart) -> &'static str {
    "uploaded"
}

/// axum's own, without the attribute.
async fn plain(mut form: axum::extract::Multipart) -> Response {
    use axum::response::IntoResponse as _;
    loop {
        match form.next_field().await {
            Ok(Some(field)) => match field.bytes().await {
                Ok(_) => {}
                Err(error) => return error.into_response(),
            },
            Ok(None) => return Response::new("uploaded".into()),
            Err(error) => return error.into_response(),
        }
    }
}

fn routes() -> Router<App> {
    let limits = MultipartLimits::new().with_part(100).with_memory(8);
    Router::new()
        .route("/upload", post(upload))
        .route("/result", post(result))
        .route("/raw", post(raw))
        .route("/named", post(named))
        .layer(Extension(limits))
        .route("/plain", post(plain))
}

/// A form with a field and a file.
pub(crate) fn form(boundary: &str, file_name: &str, file: &str) -> String {
    format!(
        "--{boundary}\r\n\
         content-disposition: form-data; name=\"title\"\r\n\r\n\
         Hello\r\n\
         --{boundary}\r\n\
         content-disposition: form-data; name=\"file\"; filename=\"{file_name}\"\r\n\
         content-type: text/plain\r\n\r\n\
         {file}\r\n\
         --{boundary}--\r\n"
    )
}

fn request(path: &str, key: &str, boundary: &str, body: impl Into<Body>) -> Request {
    Request::post(path)
        .header("idempotency-key", key)
        .header(
            "content-type",
            format!("multipart/form-data; boundary={boundary}"),
        )
        .body(body.into())
        .expect("a request")
}

#[tokio::test]
async fn f6_upload_is_bound_by_its_parts_and_not_by_its_bytes() {
    let service = Service::start(routes()).await;
    let send = async |path, boundary, form| {
        let request = request(path, "1", boundary, form);
        service.send(request).await
    };
    let first = send("/upload", "one", form("one", "a.txt", "12345678")).await;
    first.ran("title=Hello file=12345678 ");
    let again = send("/upload", "two", form("two", "a.txt", "12345678")).await;
    again.replays(&first);
    for other in [
        form("two", "b.txt", "12345678"),
        form("two", "a.txt", "12345679"),
        form("two", "a.txt", "1234567"),
        form("two", "a.txt", "12345678").replace("text/plain", "text/html"),
        form("two", "a.txt", "12345678").replace("Hello", "Hullo"),
    ] {
        let other = send("/upload", "two", other).await;
        other.is_of_another_request();
    }
    assert_eq!(
        service.orders.effects().await,
        ["title=Hello file=12345678 "]
    );

    let first = send(
        "/named",
        "one",
        form("one", "", "1").replacen("title\"", "title\"; filename=\"x\"", 1),
    )
    .await;
    first.ran("uploaded");
    let again = send(
        "/named",
        "two",
        form("two", "", "2").replacen("title\"", "title\"; filename=\"x\"", 1),
    )
    .await;
    again.replays(&first);
    let other = send(
        "/named",
        "two",
        form("two", "", "1").replacen("title\"", "title\"; filename=\"y\"", 1),
    )
    .await;
    other.is_of_another_request();
}

#[tokio::test]
async fn o7_upload_that_is_refused_claims_nothing() {
    let service = Service::start(routes()).await;
    let large = form("b", "a.txt", &"x".repeat(101));
    let huge = form("b", "a.txt", &"x".repeat(3_000_000));
    let cut = form("b", "a.txt", "1").replace("--b--", "");
    for path in ["/upload", "/result"] {
        for (name, boundary, body, status) in [
            ("over the limit of a part", "b", large.clone(), 413),
            ("over the limit of the body", "b", huge.clone(), 413),
            ("without its end", "b", cut.clone(), 400),
            ("without a boundary", "", form("b", "a.txt", "1"), 400),
        ] {
            let refused = service
                .send(request(path, "1", boundary, body.clone()))
                .await;
            assert_eq!(refused.status, status, "{path} {name}: {refused:?}");
            let plain = service.send(request("/plain", "1", boundary, body)).await;
            if !name.ends_with("part") {
                let expected = (plain.status, &plain.text);
                assert_eq!((refused.status, &refused.text), expected, "{path} {name}");
            }
        }
        assert!(
            !service
                .orders
                .operations()
                .await
                .iter()
                .any(|name| name.ends_with(path))
        );
        let first = service
            .send(request(path, "1", "b", form("b", "a.txt", "1")))
            .await;
        assert!(first.status.is_success() && !first.replayed, "{first:?}");
    }
}

#[tokio::test]
async fn f6_bytes_of_an_upload_can_not_be_bound() {
    let service = Service::start(routes()).await;
    let refused = service
        .send(request("/raw", "1", "b", form("b", "a", "1")))
        .await;
    assert_eq!(refused.status, 500);
    assert!(refused.text.contains("misconfigured"), "{refused:?}");
}

/// Counts bytes, and keeps none.
struct Count(Arc<Flow>);

/// The bytes that the client has sent, that the sink has seen, and the most in between.
#[derive(Default)]
struct Flow {
    sent: AtomicUsize,
    seen: AtomicUsize,
    most: AtomicUsize,
}

impl Sink for Count {
    type Stored = usize;

    async fn store(
        &mut self,
        _: &PartHead,
        content: &mut PartContent<'_>,
    ) -> Result<usize, Response> {
        let mut count = 0;
        while let Some(chunk) = content.chunk().await? {
            count += chunk.len();
            let seen = self.0.seen.fetch_add(chunk.len(), Ordering::Relaxed) + chunk.len();
            let between = self.0.sent.load(Ordering::Relaxed).saturating_sub(seen);
            self.0.most.fetch_max(between, Ordering::Relaxed);
        }
        Ok(count)
    }
}

impl<S: Sync> FromRequestParts<S> for Count {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let flow = head.extensions.get::<Arc<Flow>>().expect("a layer sets it");
        Ok(Self(Arc::clone(flow)))
    }
}

#[idempotent(ttl = "24h", unscoped)]
async fn counted(_: &mut SqliteConnection, form: Multipart<Count>) -> String {
    form.part("file").expect("a file").content.to_string()
}

#[tokio::test]
async fn f6_upload_streams_to_its_sink() {
    const CHUNK: usize = 64 * 1024;
    const CHUNKS: usize = 1000;
    let flow = Arc::new(Flow::default());
    let routes = Router::new()
        .route("/counted", post(counted))
        .layer(Extension(MultipartLimits::new().with_total(u64::MAX)))
        .layer(Extension(Arc::clone(&flow)))
        .layer(DefaultBodyLimit::disable());
    let service = Service::start(routes).await;
    let send = async |boundary: &'static str| {
        let whole = form(boundary, "a", "|");
        let (start, end) = whole.split_once('|').expect("it is in there");
        let (start, end) = (Bytes::from(start.to_owned()), Bytes::from(end.to_owned()));
        let file = std::iter::repeat_n(Bytes::from(vec![b'x'; CHUNK]), CHUNKS);
        let flow = Arc::clone(&flow);
        let chunks = std::iter::once(start)
            .chain(file)
            .chain([end])
            .map(move |chunk| {
                flow.sent.fetch_add(chunk.len(), Ordering::Relaxed);
                Ok::<_, Infallible>(chunk)
            });
        let body = Body::from_stream(stream::iter(chunks));
        service.send(request("/counted", "1", boundary, body)).await
    };
    let first = send("one").await;
    first.ran(&(CHUNK * CHUNKS).to_string());
    send("two").await.replays(&first);
    let most = flow.most.load(Ordering::Relaxed);
    assert!(most < 8 * CHUNK, "{most} bytes at once");
}
