//! Which argument is the body, and what of it is bound to the key.

use std::future::{Ready, ready};

use actix_web::body::BoxBody;
use actix_web::dev::{self, ServiceRequest, ServiceResponse};
use actix_web::http::header::CONTENT_ENCODING;
use actix_web::middleware::{Next, from_fn};
use actix_web::web::{self, Bytes, Form, Header, Json, Path, Payload, ReqData, ServiceConfig};
use actix_web::{Error, FromRequest, HttpMessage as _, HttpRequest};
use futures_util::StreamExt as _;
use futures_util::future::LocalBoxFuture;
use idem_actix::{Content, EncodeError, RequestBody, RequestPart, idempotent};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::SqliteConnection;

use super::service::{request, start};
use crate::service::Order;

/// An extractor of the application's own, which binds the number of its lines.
struct Lines(Vec<String>);

impl FromRequest for Lines {
    type Error = Error;
    type Future = LocalBoxFuture<'static, Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut dev::Payload) -> Self::Future {
        let text = String::from_request(request, payload);
        Box::pin(async move { Ok(Self(text.await?.lines().map(str::to_owned).collect())) })
    }
}

impl RequestBody for Lines {
    fn content(&self) -> Result<Content, EncodeError> {
        Content::of(&self.0.len())
    }
}

/// One that says nothing, and reads nothing.
struct Silent;

impl FromRequest for Silent {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(_: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        ready(Ok(Self))
    }
}

/// One that is a part.
struct Silently;

impl FromRequest for Silently {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(_: &HttpRequest, _: &mut dev::Payload) -> Self::Future {
        ready(Ok(Self))
    }
}

impl RequestPart for Silently {}

macro_rules! bodies {
    ($($name:ident($($promise:tt)*) $body:ident: $type:ty => $item:expr;)*) => {$(
        #[idempotent(ttl = "24h", unscoped $($promise)*)]
        async fn $name($body: $type, _: &mut SqliteConnection, _request: HttpRequest) -> String {
            $item
        }
    )*};
}

bodies! {
    json() order: Json<Order> => order.into_inner().item;
    form() order: Form<Order> => order.into_inner().item;
    bytes() body: Bytes => String::from_utf8_lossy(&body).into_owned();
    string() body: String => body;
    optional() order: Option<Json<Order>> => order.map(|order| order.into_inner().item).unwrap_or_default();
    result() order: Result<Json<Order>, Error> => order.map(|order| order.into_inner().item).unwrap_or_default();
    lines() lines: Lines => lines.0.concat();
    raw(, fingerprint = "raw") order: Json<Order> => order.into_inner().item;
    raw_silent(, fingerprint = "raw") _silent: Silent => "silent".to_owned();
    none(, body = "none") _silent: Silent => "silent".to_owned();
    part() _part: Silently => "part".to_owned();
    named(, body = "order") order: Json<Order> => order.into_inner().item;
    intended(, fingerprint = Order::intent) order: Json<Order> => order.into_inner().item;
    payload() payload: Payload => read(payload).await;
}

async fn read(mut payload: Payload) -> String {
    let mut text = String::new();
    while let Some(chunk) = payload.next().await {
        text += &String::from_utf8_lossy(&chunk.expect("it was read before"));
    }
    text
}

#[idempotent(ttl = "24h", unscoped, body = "order")]
async fn generic<T: Serialize + DeserializeOwned>(
    _: Path<String>,
    order: Json<T>,
    _: &mut SqliteConnection,
) -> Json<T> {
    order
}

#[idempotent(ttl = "24h", unscoped)]
async fn sized<const N: usize>(order: Json<Order>, _: &mut SqliteConnection) -> String {
    order.item.repeat(N)
}

#[idempotent(ttl = "24h", unscoped)]
async fn headers(
    _: Header<actix_web::http::header::ContentType>,
    tenant: Path<String>,
    _: &mut SqliteConnection,
) -> String {
    tenant.into_inner()
}

fn routes(config: &mut ServiceConfig) {
    config
        .route("/json", web::post().to(json))
        .route("/form", web::post().to(form))
        .route("/bytes", web::post().to(bytes))
        .route("/string", web::post().to(string))
        .route("/optional", web::post().to(optional))
        .route("/result", web::post().to(result))
        .route("/lines", web::post().to(lines))
        .route("/raw", web::post().to(raw))
        .route("/raw_silent", web::post().to(raw_silent))
        .route("/none", web::post().to(none))
        .route("/part", web::post().to(part))
        .route("/named", web::post().to(named))
        .route("/intended", web::post().to(intended))
        .route("/payload", web::post().to(payload))
        .route("/{any}/generic", web::post().to(generic::<Order>))
        .route("/sized", web::post().to(sized::<2>))
        .route("/{tenant}/headers", web::post().to(headers));
}

const ORDER: &str = r#"{"item": "book"}"#;
const SPACED: &str = r#"{ "item" : "book" }"#;
const NOTED: &str = r#"{"item": "book", "note": "!"}"#;
const OTHER: &str = r#"{"item": "pen"}"#;

/// On each of `paths`, `same` is a retry of `first`, and `other` another request.
async fn binds(paths: &[&str], first: &str, same: &str, other: &str) {
    let service = start(routes).await;
    for path in paths {
        let ran = service.post(path, "1", first).await;
        assert!(ran.status.is_success() && !ran.replayed, "{path}: {ran:?}");
        service.post(path, "1", same).await.replays(&ran);
        service.post(path, "1", other).await.is_of_another_request();
    }
}

#[actix_web::test]
async fn the_deserialized_body() {
    let paths = [
        "/json",
        "/optional",
        "/result",
        "/named",
        "/a/generic",
        "/sized",
    ];
    binds(&paths, ORDER, SPACED, OTHER).await;
    binds(&["/intended"], ORDER, NOTED, OTHER).await;
    binds(&["/lines"], "a\nb", "c\nd", "a\nb\nc").await;
}

#[actix_web::test]
async fn the_bytes() {
    let paths = ["/bytes", "/string", "/raw", "/raw_silent", "/payload"];
    binds(&paths, ORDER, ORDER, SPACED).await;
    let service = start(routes).await;
    service.post("/payload", "1", ORDER).await.ran(ORDER);
}

/// Two compressions of `ORDER`, with the times 0 and 1 in their heads.
const COMPRESSED: [&[u8]; 2] = [
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xabV\xca,I\xcdU\xb2RPJ\xca\xcf\xcfV\xaa\x05\x00\x18\xefN\x9b\x10\x00\x00\x00",
    b"\x1f\x8b\x08\x00\x01\x00\x00\x00\x02\xff\xabV\xca,I\xcdU\xb2RPJ\xca\xcf\xcfV\xaa\x05\x00\x18\xefN\x9b\x10\x00\x00\x00",
];

/// Extractors decompress. A value is bound decompressed, and bytes are bound as they came.
#[actix_web::test]
async fn f1_compressed_body_is_bound_by_its_value_or_by_its_bytes() {
    let service = start(routes).await;
    let post = async |path, body: &'static [u8]| {
        let compressed = request(path, "1").insert_header((CONTENT_ENCODING, "gzip"));
        service.send(compressed.set_payload(body)).await
    };
    let [one, other] = COMPRESSED;
    let first = post("/json", one).await;
    first.ran("book");
    post("/json", other).await.replays(&first);
    service.post("/json", "1", ORDER).await.replays(&first);
    service
        .post("/json", "1", OTHER)
        .await
        .is_of_another_request();
    let first = post("/bytes", one).await;
    first.ran(ORDER);
    post("/bytes", one).await.replays(&first);
    post("/bytes", other).await.is_of_another_request();
}

#[actix_web::test]
async fn nothing_of_the_body() {
    let service = start(routes).await;
    let first = service.post("/none", "1", "abc").await;
    first.ran("silent");
    service.post("/none", "1", "def").await.replays(&first);
}

#[actix_web::test]
async fn the_bytes_that_no_argument_reads() {
    binds(&["/part", "/acme/headers"], ORDER, ORDER, SPACED).await;
}

#[actix_web::test]
async fn f4_what_could_not_be_extracted_is_bound_by_its_bytes() {
    let service = start(routes).await;
    let bodies = ["{", "[", "", ORDER];
    for path in ["/result", "/optional"] {
        for (key, body) in bodies.iter().enumerate() {
            let key = key.to_string();
            let first = service.post(path, &key, body).await;
            first.ran(if *body == ORDER { "book" } else { "" });
            service.post(path, &key, body).await.replays(&first);
            for other in bodies.iter().filter(|other| *other != body) {
                let other = service.post(path, &key, other).await;
                other.is_of_another_request();
            }
        }
    }
}

/// Takes the order out of a body, and puts the body back.
async fn parse(mut request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse, Error> {
    let body = request.extract::<Bytes>().await?;
    if let Ok(order) = serde_json::from_slice::<Order>(&body) {
        request.extensions_mut().insert(order);
    }
    request.set_payload(dev::Payload::from(body));
    next.call(request).await
}

/// Replaces every body by one without spaces.
async fn strip(mut request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse, Error> {
    let mut body = request.extract::<String>().await?;
    body.retain(|character| character != ' ');
    request.set_payload(dev::Payload::from(Bytes::from(body)));
    next.call(request).await
}

#[idempotent(ttl = "24h", unscoped)]
async fn parsed(_: &mut SqliteConnection, order: ReqData<Order>) -> String {
    order.item.clone()
}

#[idempotent(ttl = "24h", unscoped, body = "none")]
async fn parsed_unbound(_: &mut SqliteConnection, order: ReqData<Order>) -> String {
    order.item.clone()
}

#[actix_web::test]
async fn f4_what_a_middleware_takes_out_of_a_body_is_bound_by_the_bytes() {
    let service = start(|config| {
        let routes = web::scope("/parsed").wrap(from_fn(parse));
        let routes = routes
            .route("/bound", web::post().to(parsed))
            .route("/unbound", web::post().to(parsed_unbound));
        config.service(routes);
    })
    .await;
    for path in ["/parsed/bound", "/parsed/unbound"] {
        let first = service.post(path, "1", ORDER).await;
        first.ran("book");
        service.post(path, "1", ORDER).await.replays(&first);
        let other = service.post(path, "1", OTHER).await;
        if path == "/parsed/bound" {
            other.is_of_another_request();
        } else {
            other.replays(&first);
        }
    }
}

#[actix_web::test]
async fn f1_body_is_bound_as_middlewares_pass_it_on() {
    let service = start(|config| {
        let routes = web::scope("/stripped").wrap(from_fn(strip));
        config.service(routes.route("/raw", web::post().to(raw)));
    })
    .await;
    let first = service.post("/stripped/raw", "1", ORDER).await;
    first.ran("book");
    service
        .post("/stripped/raw", "1", SPACED)
        .await
        .replays(&first);
    let other = service.post("/stripped/raw", "1", OTHER).await;
    other.is_of_another_request();
}

#[actix_web::test]
async fn forms() {
    let service = start(routes).await;
    let send = async |form: &'static str| {
        let content_type = ("content-type", "application/x-www-form-urlencoded");
        let request = request("/form", "1").insert_header(content_type);
        service.send(request.set_payload(form)).await
    };
    let first = send("item=book").await;
    first.ran("book");
    send("item=%62ook").await.replays(&first);
    send("item=pen").await.is_of_another_request();
}
