//! The client on sockets: what is sent, and what counts as an answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use idem_client::{Client, Error, Key, Last, Unfinished};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

/// A server that answers each connection with the next text, and then closes it.
struct Server {
    url: String,
    requests: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Server {
    async fn answering<const N: usize>(answers: [&'static str; N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!(
            "http://{}/payments?a=1",
            listener.local_addr().expect("a bound listener")
        );
        let requests = Arc::<Mutex<Vec<_>>>::default();
        let seen = Arc::clone(&requests);
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.expect("a client");
                let request = read(&mut stream).await;
                seen.lock().expect("no panic").push(request);
                let written = stream.write_all(answer.as_bytes()).await;
                written.expect("a client that reads");
            }
        });
        Self { url, requests }
    }

    fn requests(&self) -> Vec<Vec<u8>> {
        self.requests.lock().expect("no panic").clone()
    }
}

/// One request, to the end of its body.
async fn read(stream: &mut tokio::net::TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    loop {
        let head = request.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(head) = head {
            let text = String::from_utf8_lossy(&request[..head]).to_lowercase();
            let length = text.split("content-length: ").nth(1);
            let length = length.and_then(|rest| rest.lines().next()?.parse().ok());
            if request.len() == head + 4 + length.unwrap_or(0) {
                return request;
            }
        }
        let mut some = [0; 1024];
        let count = stream.read(&mut some).await.expect("a request");
        assert_ne!(count, 0, "the request breaks off");
        request.extend_from_slice(&some[..count]);
    }
}

fn client() -> Client {
    let client = Client::new(reqwest::Client::builder(), "orders.example/test").expect("a client");
    client.with_pauses(Duration::from_millis(1), Duration::from_millis(1))
}

#[track_caller]
fn unfinished(sent: Result<idem_client::Answer, Error>) -> Unfinished {
    match sent {
        Err(Error::Unfinished(unfinished)) => *unfinished,
        other => panic!("not unfinished: {other:?}"),
    }
}

const CREATED: &str =
    "HTTP/1.1 201 Created\r\nidempotency-replayed: true\r\ncontent-length: 8\r\n\r\n{\"id\":1}";

#[tokio::test]
async fn each_attempt_sends_the_same_bytes_until_the_answer_is_whole() {
    let server = Server::answering([
        "",
        "HTTP/1.1 201 Cr",
        "HTTP/1.1 201 Created\r\ncontent-length: 8\r\n",
        "HTTP/1.1 201 Created\r\ncontent-length: 8\r\n\r\n{\"id\":1",
        "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n4\r\n{\"id\r\n",
        CREATED,
    ])
    .await;
    let request = client().once("pay-invoice", 17).post(&server.url);
    let request = request.bearer_auth("secret").header("x-a", "b");
    let sent = request.json(&[1, 2]).send().await.unwrap();
    assert_eq!((sent.status().as_u16(), sent.attempts), (201, 6));
    assert!(sent.replayed && sent.recorded);
    assert_eq!(sent.response.body(), "{\"id\":1}");
    let id: serde_json::Value = sent.json().unwrap();
    assert_eq!(id["id"], 1);

    let requests = server.requests();
    assert!(requests.iter().all(|request| *request == requests[0]));
    let text = String::from_utf8(requests[0].clone()).unwrap();
    assert!(
        text.starts_with("POST /payments?a=1 HTTP/1.1\r\n"),
        "{text}"
    );
    assert!(text.ends_with("\r\n\r\n[1,2]"), "{text}");
    let key = Key::derive("orders.example/test", "pay-invoice", "17");
    assert_eq!(sent.key, key);
    for line in [
        format!("idempotency-key: {key}"),
        "authorization: Bearer secret".to_owned(),
        "content-type: application/json".to_owned(),
        "x-a: b".to_owned(),
    ] {
        assert_eq!(
            text.matches(&format!("\r\n{line}\r\n")).count(),
            1,
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let elsewhere = Server::answering([CREATED]).await;
    for status in [
        "302 Found",
        "307 Temporary Redirect",
        "308 Permanent Redirect",
    ] {
        let answer = format!(
            "HTTP/1.1 {status}\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
            elsewhere.url
        );
        let server = Server::answering([answer.leak()]).await;
        let sent = client()
            .once("o", 1)
            .post(&server.url)
            .send()
            .await
            .unwrap();
        assert!(sent.status().is_redirection());
        assert!(sent.response.headers().contains_key("location"));
        assert!(!sent.recorded);
    }
    assert!(elsewhere.requests().is_empty());
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_not_kept() {
    let server = Server::answering([CREATED, CREATED]).await;
    let client = client().with_response_limit(7);
    let sent = client.once("o", 1).post(&server.url).send().await;
    let unfinished = unfinished(sent);
    assert!(matches!(unfinished.last, Last::TooLong(status) if status == 201));
    assert_eq!(server.requests().len(), 1);
    let client = client.with_response_limit(8);
    client.once("o", 1).post(&server.url).send().await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_silent_is_asked_again() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let client = client().with_attempt_timeout(Duration::from_millis(20));
    let request = client.once("o", 1).post(url);
    let unfinished = unfinished(request.within(Duration::from_millis(200)).send().await);
    assert!(unfinished.attempts > 3, "{unfinished:?}");
    assert!(matches!(unfinished.last, Last::NoAnswer(_)));
    let error: &dyn std::error::Error = &unfinished;
    assert!(error.source().is_some());
}

#[tokio::test]
async fn another_header_can_carry_the_key() {
    let server = Server::answering([CREATED]).await;
    let client = client().try_with_header("X-Request-Key").unwrap();
    let intent = client.once("o", "a");
    let key = intent.key();
    // The key is not the caller's choice.
    let request = intent.put(&server.url).header("x-request-key", "mine");
    request.body("text").send().await.unwrap();
    let text = String::from_utf8(server.requests()[0].clone()).unwrap();
    assert_eq!(text.matches("x-request-key").count(), 1, "{text}");
    assert!(
        text.contains(&format!("x-request-key: {key}\r\n")),
        "{text}"
    );
    assert!(
        text.starts_with("PUT ") && !text.contains("idempotency-key"),
        "{text}"
    );
    assert!(client.try_with_header("a b").is_err());
}

#[tokio::test]
async fn what_can_not_be_sent_is_not_sent() {
    let server = Server::answering([]).await;
    let client = client();
    let nameless = Client::new(reqwest::Client::builder(), "").unwrap();
    for request in [
        client.once("", 1).post(&server.url),
        client.once("o", "").post(&server.url),
        nameless.once("o", 1).post(&server.url),
        client.once("o", 1).post("/payments"),
        client.once("o", 1).post("data:text/plain,a"),
        client.once("o", 1).post(&server.url).header("a b", "c"),
        client.once("o", 1).post(&server.url).header("a", "c\n"),
        client.once("o", 1).post(&server.url).bearer_auth("\n"),
        client
            .once("o", 1)
            .delete(&server.url)
            .json(&Unserializable),
    ] {
        let what = format!("{request:?}");
        let sent = request.send().await;
        assert!(matches!(sent, Err(Error::Unsent(_))), "{what}: {sent:?}");
    }
}

struct Unserializable;

impl serde::Serialize for Unserializable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("never"))
    }
}

#[test]
fn a_token_is_not_shown() {
    let request = client()
        .once("o", 1)
        .post("http://a/")
        .bearer_auth("hunter2");
    assert!(!format!("{request:?}").contains("hunter2"));
}

#[test]
fn a_future_can_be_sent_to_another_thread() {
    fn is_send(_: impl Send + 'static) {}
    is_send(client().once("o", 1).post("http://a/").send());
}
