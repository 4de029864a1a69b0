//! A service whose answers are written down, byte for byte.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use idem_core::Problem;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Takes one request in each connection.
pub(crate) struct Script {
    pub(crate) address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) key: String,
    pub(crate) body: String,
    pub(crate) at: Instant,
}

impl Script {
    /// Answers the requests in this order, and each further one by the last answer.
    pub(crate) async fn start(answers: Vec<Vec<u8>>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let asked = Arc::<Mutex<Vec<Asked>>>::default();
        let script = Self {
            address,
            asked: Arc::clone(&asked),
        };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                // A client may open a connection that it does not use.
                let Some(request) = read(&mut stream).await else {
                    continue;
                };
                let number = {
                    let mut asked = lock(&asked);
                    asked.push(request);
                    asked.len()
                };
                let answer = &answers[number.min(answers.len()) - 1];
                stream.write_all(answer).await.expect("the client reads");
            }
        });
        script
    }

    /// The requests until now.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        lock(&self.asked).clone()
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        if let Some((head, body)) = split(&bytes) {
            let length: usize = header(head, "content-length").parse().ok()?;
            if body.len() >= length {
                return Some(Asked {
                    key: header(head, "idempotency-key").to_owned(),
                    body: body.to_owned(),
                    at: Instant::now(),
                });
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

fn split(bytes: &[u8]) -> Option<(&str, &str)> {
    std::str::from_utf8(bytes).ok()?.split_once("\r\n\r\n")
}

/// The value of a header; nothing if it is not there.
fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(other, _)| other.eq_ignore_ascii_case(name));
    values.next().map_or("", |(_, value)| value.trim())
}

/// An answer with these header lines.
pub(crate) fn answer(status: u16, headers: &[&str], body: &str) -> Vec<u8> {
    let length = body.len();
    let lines = headers.iter().map(|line| format!("{line}\r\n"));
    let lines: String = lines.collect();
    format!("HTTP/1.1 {status} Status\r\n{lines}content-length: {length}\r\nconnection: close\r\n\r\n{body}")
        .into_bytes()
}

pub(crate) fn json_answer(status: u16, headers: &[&str], body: &str) -> Vec<u8> {
    answer(
        status,
        &[headers, &["content-type: application/json"]].concat(),
        body,
    )
}

/// The answer of a service with idem that refuses a request, with these header lines.
pub(crate) fn refusal(problem: Problem, headers: &[&str]) -> Vec<u8> {
    let document = json!({
        "type": format!("https://docs.rs/idem-core/latest/idem_core/problem/index.html#{}", problem.name()),
        "title": "A title",
        "status": problem.status().as_u16(),
        "detail": "a detail",
        "retryable": problem.retryable(),
        "safe_new_key": problem.safe_new_key(),
    });
    let kind = ["content-type: application/problem+json"];
    let headers = [headers, &kind].concat();
    answer(problem.status().as_u16(), &headers, &document.to_string())
}

/// All but the last bytes of an answer.
pub(crate) fn half(answer: &[u8]) -> Vec<u8> {
    answer[..answer.len() - 5].to_vec()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
