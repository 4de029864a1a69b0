//! The requests to a driver. A driver takes small JSON documents, and answers with them.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// Longer than the start of a browser takes on a busy machine.
const TIMEOUT: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(crate) struct Driver {
    address: String,
}

impl Driver {
    pub(crate) fn at(url: &str) -> Self {
        let address = url.strip_prefix("http://").expect("a URL of http");
        Self {
            address: address.trim_end_matches('/').to_owned(),
        }
    }

    pub(crate) fn get(&self, path: &str) -> Value {
        self.obeyed("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Value {
        self.obeyed("POST", path, Some(body))
    }

    pub(crate) fn delete(&self, path: &str) -> io::Result<Value> {
        self.send("DELETE", path, None)
    }

    fn obeyed(&self, method: &str, path: &str, body: Option<&Value>) -> Value {
        let answer = self.send(method, path, body);
        let mut answer = answer.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let value = answer["value"].take();
        assert!(value.get("error").is_none(), "{method} {path}: {value:#}");
        value
    }

    /// Each request has a connection of its own, which the driver would leave open.
    fn send(&self, method: &str, path: &str, body: Option<&Value>) -> io::Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.write_all(request.as_bytes())?;
        let mut answer = BufReader::new(stream);
        let length = content_length(&mut answer)?;
        let mut content = vec![0; length];
        answer.read_exact(&mut content)?;
        Ok(serde_json::from_slice(&content)?)
    }
}

/// Reads the head of an answer.
fn content_length(answer: &mut BufReader<TcpStream>) -> io::Result<usize> {
    let mut length = None;
    loop {
        let mut line = String::new();
        if answer.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().ok();
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    length.ok_or_else(|| io::ErrorKind::InvalidData.into())
}
