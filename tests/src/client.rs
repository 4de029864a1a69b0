//! A small HTTP/1.1 client that sends exactly the bytes of the test.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Longer than any request may take by the rules.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A request that can be sent any number of times.
#[derive(Debug, Clone)]
pub struct Request {
    address: SocketAddr,
    line: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Request {
    /// A request of the tenant `acme` without a key and a body.
    pub fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        Self {
            address,
            line: format!("{method} {target} HTTP/1.1"),
            headers: Vec::new(),
            body: Vec::new(),
        }
        .tenant("acme")
    }

    /// The same request, sent to another instance.
    #[must_use]
    pub fn to(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }

    /// Adds a header line.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers
            .push((name.to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Removes all lines of a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(n, _)| !n.eq_ignore_ascii_case(name));
        self
    }

    /// The tenant of the request, percent-encoded.
    #[must_use]
    pub fn tenant(self, tenant: &str) -> Self {
        self.without("x-tenant").header("x-tenant", tenant)
    }

    /// The idempotency key, bare.
    #[must_use]
    pub fn key(self, key: impl AsRef<[u8]>) -> Self {
        self.without("idempotency-key")
            .header("idempotency-key", key)
    }

    /// A JSON body.
    #[must_use]
    pub fn json(self, body: &str) -> Self {
        self.body("application/json", body)
    }

    /// The JSON body of an effect.
    #[must_use]
    pub fn effect(self, label: &str) -> Self {
        self.json(&format!(r#"{{"label":"{label}"}}"#))
    }

    /// A body.
    #[must_use]
    pub fn body(self, content_type: &str, body: impl AsRef<[u8]>) -> Self {
        let mut this = self
            .without("content-type")
            .header("content-type", content_type);
        body.as_ref().clone_into(&mut this.body);
        this
    }

    /// Sends it and waits for the answer.
    pub async fn send(&self) -> Answer {
        let connection = self.open().await;
        connection.answer().await
    }

    /// Sends it. Returns the answer if all of it comes back.
    pub async fn attempt(&self) -> Option<Answer> {
        let answer = async {
            let mut stream = TcpStream::connect(self.address).await.ok()?;
            stream.write_all(&self.bytes()).await.ok()?;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.ok()?;
            self.whole(&bytes)
        };
        tokio::time::timeout(TIMEOUT, answer).await.ok()?
    }

    /// The answer to this request in these bytes, if they are a complete answer.
    pub fn whole(&self, bytes: &[u8]) -> Option<Answer> {
        let head = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
        let is_head = self.line.starts_with("HEAD ");
        let length = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
        let length = length.split("content-length: ").nth(1)?;
        let length: usize = length.lines().next()?.trim().parse().ok()?;
        let whole = is_head || bytes.len() == head + 4 + length;
        whole.then(|| Answer::parse(bytes, is_head))
    }

    /// Sends it in the background while the test goes on.
    pub fn start(&self) -> Pending {
        let request = self.clone();
        Pending(tokio::spawn(async move { request.send().await }))
    }

    /// Sends it on a connection that the test can break.
    pub async fn open(&self) -> Connection {
        let mut stream = TcpStream::connect(self.address)
            .await
            .expect("the instance listens");
        let sent = stream.write_all(&self.bytes()).await;
        sent.expect("the instance reads");
        let is_head = self.line.starts_with("HEAD ");
        Connection { stream, is_head }
    }

    /// The address of the instance.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Method and target.
    pub fn target(&self) -> (&str, &str) {
        let mut words = self.line.split(' ');
        let mut word = || words.next().expect("a request line has three words");
        (word(), word())
    }

    /// The header lines of the request.
    pub fn headers(&self) -> &[(String, Vec<u8>)] {
        &self.headers
    }

    /// The body.
    pub fn content(&self) -> &[u8] {
        &self.body
    }

    /// The bytes on the wire.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!(
            "{}\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n",
            self.line,
            self.address,
            self.body.len()
        )
        .into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// A connection on which a request was sent. A client that goes away is a dropped connection.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    is_head: bool,
}

impl Connection {
    /// Closes the sending side, and can still read.
    pub async fn half_close(&mut self) {
        self.stream
            .shutdown()
            .await
            .expect("the connection is open");
    }

    /// Ends the connection by a reset.
    pub fn reset(self) {
        let set = self.stream.set_zero_linger();
        set.expect("the connection can be reset");
    }

    /// Waits for the answer.
    pub async fn answer(mut self) -> Answer {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(TIMEOUT, self.stream.read_to_end(&mut bytes));
        let read = read.await.expect("an answer in time");
        read.expect("the connection stays whole");
        Answer::parse(&bytes, self.is_head)
    }
}

/// The answer to a request in the background.
#[derive(Debug)]
pub struct Pending(JoinHandle<Answer>);

impl Pending {
    /// Waits for it.
    pub async fn answer(self) -> Answer {
        self.await
    }

    /// Waits until the answer has come, without taking it.
    pub async fn answered(&mut self) {
        while !self.is_answered() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Whether the answer has come.
    pub fn is_answered(&self) -> bool {
        self.0.is_finished()
    }
}

impl Future for Pending {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer> {
        let answered = Pin::new(&mut self.0).poll(context);
        answered.map(|answer| answer.expect("the request is answered"))
    }
}

/// A response, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The header lines in their order, names in lower case.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Bytes,
}

impl Answer {
    fn parse(bytes: &[u8], is_head: bool) -> Self {
        let end = bytes
            .windows(4)
            .position(|window| window == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("no response: {:?}", String::from_utf8_lossy(bytes)));
        let body = Bytes::copy_from_slice(&bytes[end + 4..]);
        let mut lines = bytes[..end].split(|&byte| byte == b'\n');
        let status = lines.next().and_then(status).expect("a status line");
        let headers = lines
            .map(|line| {
                let line = line.trim_ascii_end();
                let colon = line.iter().position(|&byte| byte == b':');
                let (name, value) = line.split_at(colon.expect("a header line"));
                (
                    String::from_utf8_lossy(name).to_ascii_lowercase(),
                    value[1..].trim_ascii().to_owned(),
                )
            })
            .collect();
        let answer = Self {
            status,
            headers,
            body,
        };
        if let Some(length) = answer.header("content-length")
            && !is_head
        {
            assert_eq!(
                length,
                answer.body.len().to_string(),
                "the body is cut short"
            );
        }
        answer
    }

    /// A header's first line.
    pub fn header(&self, name: &str) -> Option<&str> {
        let line = self.headers.iter().find(|(n, _)| n == name)?;
        Some(std::str::from_utf8(&line.1).expect("a header of text"))
    }

    /// All lines of a header.
    pub fn lines(&self, name: &str) -> Vec<&[u8]> {
        let lines = self.headers.iter().filter(|(n, _)| n == name);
        lines.map(|(_, value)| value.as_slice()).collect()
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether it is marked as a replay.
    pub fn is_replay(&self) -> bool {
        match self.lines("idempotency-replayed")[..] {
            [] => false,
            [b"true"] => true,
            ref other => panic!("not a replay marker: {other:?}"),
        }
    }

    /// The time until which the response is remembered, in seconds since 1970.
    pub fn expires(&self) -> Option<i64> {
        let date = self.header("idempotency-expires")?;
        let seconds = date.strip_prefix('@').and_then(|s| s.parse().ok());
        Some(seconds.unwrap_or_else(|| panic!("not an RFC 9651 Date: {date}")))
    }
}

fn status(line: &[u8]) -> Option<u16> {
    let mut words = line.split(|&byte| byte == b' ');
    (words.next()? == b"HTTP/1.1").then_some(())?;
    std::str::from_utf8(words.next()?).ok()?.parse().ok()
}
