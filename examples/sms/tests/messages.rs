//! What the example prints, on the server that `IDEM_TEST_REDIS_URL` names, else on one of its own.

#![allow(clippy::unwrap_used)] // clippy takes helper functions for code outside tests

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

/// The example in a process of its own. Dropping it ends it as Ctrl-C does.
struct Service {
    process: Child,
    address: String,
    /// The server may have the keys of earlier runs.
    key: u128,
}

struct Answer {
    head: String,
    body: String,
}

impl Service {
    fn start() -> Self {
        let url = std::env::var("IDEM_TEST_REDIS_URL").ok();
        let mut process = Command::new(env!("CARGO_BIN_EXE_sms"))
            .args(["--listen", "127.0.0.1:0"])
            .args(url.iter().flat_map(|url| ["--redis-url", url]))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let printed = BufReader::new(process.stdout.take().unwrap());
        let address = printed.lines().find_map(|line| {
            let line = line.unwrap();
            Some(line.strip_prefix("listening on http://")?.to_owned())
        });
        let address = address.expect("the service starts; is redis-server installed?");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self {
            process,
            address,
            key: now.as_nanos(),
        }
    }

    fn ask(&self, request: &str, body: &str) -> Answer {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (key, length) = (self.key, body.len());
        let request = format!(
            "{request} HTTP/1.0\r\nauthorization: Bearer ann\r\nidempotency-key: {key}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    fn send(&self, text: &str) -> Answer {
        let body = format!(r#"{{"to":"+15550100","text":"{text}"}}"#);
        self.ask("POST /messages", &body)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let id = self.process.id().to_string();
        let _ = Command::new("kill").args(["-INT", &id]).status();
        let _ = self.process.wait();
    }
}

#[test]
fn message_is_sent_once_and_its_answer_is_repeated() {
    let service = Service::start();
    let first = service.send("1234");
    assert!(first.head.starts_with("http/1.0 202"), "{}", first.head);
    let again = service.send("1234");
    assert!(again.head.starts_with("http/1.0 202"), "{}", again.head);
    assert!(
        again.head.contains("idempotency-replayed: true"),
        "{}",
        again.head
    );
    assert_eq!(again.body, first.body);
    let other = service.send("5678");
    assert!(other.head.starts_with("http/1.0 422"), "{}", other.head);
    let sent = service.ask("GET /messages", "");
    assert_eq!(sent.body, format!("[{}]", first.body));
}
