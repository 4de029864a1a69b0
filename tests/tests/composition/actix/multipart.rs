//! Uploads are bound by their parts.

use std::future::{Ready, ready};
use std::sync::atomic::{AtomicUsize, Ordering};

use actix_web::http::StatusCode;
use actix_web::test::TestRequest;
use actix_web::web::{self, Bytes, Data, ServiceConfig};
use actix_web::{Error, FromRequest, HttpRequest, dev};
use futures_util::{StreamExt as _, stream};
use idem_actix::{Multipart, MultipartLimits, PartContent, PartHead, Sink, idempotent};
use sqlx::SqliteConnection;

use super::service::{answer, start};
use crate::multipart::form;
use crate::service::write;

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
async fn result(
    tx: &mut SqliteConnection,
    form: Result<Multipart, Error>,
) -> Result<&'static str, Error> {
    form?;
    write(tx, "uploaded").await.expect("a row");
    Ok("uploaded")
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

fn routes(config: &mut ServiceConfig) {
    config
        .app_data(
            MultipartLimits::new()
                .with_part(100)
                .with_total(150)
                .with_memory(8),
        )
        .route("/upload", web::post().to(upload))
        .route("/result", web::post().to(result))
        .route("/raw", web::post().to(raw))
        .route("/named", web::post().to(named));
}

fn request(path: &str, boundary: &str, body: String) -> TestRequest {
    let content_type = format!("multipart/form-data; boundary={boundary}");
    TestRequest::post()
        .uri(path)
        .insert_header(("idempotency-key", "1"))
        .insert_header(("content-type", content_type))
        .set_payload(body)
}

#[actix_web::test]
async fn f6_upload_is_bound_by_its_parts_and_not_by_its_bytes() {
    let service = start(routes).await;
    let send = async |path, boundary, form| service.send(request(path, boundary, form)).await;
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

    let titled = |boundary, name: &str, file| {
        let title = format!("title\"; filename=\"{name}\"");
        form(boundary, "", file).replacen("title\"", &title, 1)
    };
    let first = send("/named", "one", titled("one", "x", "1")).await;
    first.ran("uploaded");
    let again = send("/named", "two", titled("two", "x", "2")).await;
    again.replays(&first);
    let other = send("/named", "two", titled("two", "y", "1")).await;
    other.is_of_another_request();
}

#[actix_web::test]
async fn o7_upload_that_is_refused_claims_nothing() {
    let service = start(routes).await;
    let large = form("b", "a.txt", &"x".repeat(101));
    let cut = form("b", "a.txt", "1").replace("--b--\r\n", "");
    let two = form("b", "a.txt", &"x".repeat(75));
    let two = two.replace("Hello", &"x".repeat(76));
    for path in ["/upload", "/result"] {
        for (name, content_type, body, status) in [
            (
                "over the limit of a part",
                "multipart/form-data; boundary=b",
                large.clone(),
                400,
            ),
            (
                "over the limit in all",
                "multipart/form-data; boundary=b",
                two.clone(),
                400,
            ),
            (
                "without its end",
                "multipart/form-data; boundary=b",
                cut.clone(),
                400,
            ),
            (
                "without a boundary",
                "multipart/form-data",
                large.clone(),
                400,
            ),
            (
                "another type",
                "multipart/mixed; boundary=b",
                large.clone(),
                415,
            ),
        ] {
            let request = request(path, "b", body).insert_header(("content-type", content_type));
            let refused = service.send(request).await;
            assert_eq!(refused.status, status, "{path} {name}: {refused:?}");
            assert!(!refused.text.contains("type"), "{path} {name}: {refused:?}");
        }
        let operations = service.orders.operations().await;
        assert!(!operations.iter().any(|name| name.ends_with(path)));
        let first = service
            .send(request(path, "b", form("b", "a.txt", "1")))
            .await;
        assert!(first.status.is_success() && !first.replayed, "{first:?}");
    }
}

#[actix_web::test]
async fn f6_bytes_of_an_upload_can_not_be_bound() {
    let service = start(routes).await;
    let refused = service
        .send(request("/raw", "b", form("b", "a", "1")))
        .await;
    assert_eq!(refused.status, StatusCode::INTERNAL_SERVER_ERROR.as_u16());
    assert!(refused.text.contains("misconfigured"), "{refused:?}");
}

/// Counts bytes, and keeps none.
struct Count(Data<Flow>);

/// The bytes that the client has sent, that the sink has seen, and the most in between.
#[derive(Default)]
struct Flow {
    sent: AtomicUsize,
    seen: AtomicUsize,
    most: AtomicUsize,
}

impl Sink for Count {
    type Stored = usize;

    async fn store(&mut self, _: &PartHead, content: &mut PartContent<'_>) -> Result<usize, Error> {
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

impl FromRequest for Count {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        let flow = request.app_data::<Data<Flow>>();
        ready(Ok(Self(flow.expect("the application has it").clone())))
    }
}

#[idempotent(ttl = "24h", unscoped)]
async fn counted(_: &mut SqliteConnection, form: Multipart<Count>) -> String {
    form.part("file").expect("a file").content.to_string()
}

#[actix_web::test]
async fn f6_upload_streams_to_its_sink() {
    const CHUNK: usize = 64 * 1024;
    const CHUNKS: usize = 1000;
    let flow = Data::new(Flow::default());
    let service = start(|config| {
        config
            .app_data(MultipartLimits::new().with_total(u64::MAX))
            .app_data(flow.clone())
            .route("/counted", web::post().to(counted));
    })
    .await;
    let send = async |boundary: &'static str| {
        let whole = form(boundary, "a", "|");
        let (start, end) = whole.split_once('|').expect("it is in there");
        let (start, end) = (Bytes::from(start.to_owned()), Bytes::from(end.to_owned()));
        let file = std::iter::repeat_n(Bytes::from(vec![b'x'; CHUNK]), CHUNKS);
        let flow = flow.clone();
        let chunks = std::iter::once(start).chain(file).chain([end]);
        let chunks = chunks.map(move |chunk| {
            flow.sent.fetch_add(chunk.len(), Ordering::Relaxed);
            Ok(chunk)
        });
        let payload = stream::iter(chunks).boxed_local();
        let request = request("/counted", boundary, String::new()).to_request();
        let (request, _) = request.replace_payload(dev::Payload::Stream { payload });
        answer(service.respond(request).await).await
    };
    let first = send("one").await;
    first.ran(&(CHUNK * CHUNKS).to_string());
    send("two").await.replays(&first);
    let most = flow.most.load(Ordering::Relaxed);
    assert!(most < 8 * CHUNK, "{most} bytes at once");
}
