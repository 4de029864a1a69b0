//! The kind `browser`.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Image, Kind, Package, Programs, Signals};

/// The driver of Chromium, which starts one browser for each session.
pub const WEBDRIVER: Webdriver = Webdriver;

/// The type of [`WEBDRIVER`].
#[derive(Debug, Clone, Copy)]
pub struct Webdriver;

impl Kind for Webdriver {
    fn name(&self) -> &'static str {
        "Chromium"
    }

    fn key(&self) -> &'static str {
        "browser"
    }

    fn variable(&self) -> &'static str {
        "IDEM_TEST_WEBDRIVER_URL"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["chromium", "chromedriver"]
    }

    fn folders(&self) -> &'static [&'static str] {
        &[
            "/usr/bin",
            "/opt/homebrew/bin",
            "/usr/local/bin",
            "/home/linuxbrew/.linuxbrew/bin",
        ]
    }

    fn environment_prefixes(&self) -> &'static [&'static str] {
        &["CHROM", "DBUS_", "DISPLAY", "WAYLAND_", "XDG_"]
    }

    fn package(&self) -> Package {
        Package {
            names: &["chromium", "chromium-driver"],
            settings: None,
        }
    }

    /// A browser in a container would not reach the services of the tests, which listen on loopback.
    fn image(&self) -> Option<Image> {
        None
    }

    /// Chromium's sandbox refuses to work for root.
    fn users(&self) -> &'static [&'static str] {
        &["nobody"]
    }

    fn initialise(&self, _: &Programs, _: &Path) -> Option<Command> {
        None
    }

    /// The profiles of the browsers are in `TMPDIR`, and some files in `HOME`.
    fn start(&self, programs: &Programs, folder: &Path, port: u16) -> Command {
        let mut command = Command::new(programs.path("chromedriver"));
        command.arg(format!("--port={port}"));
        command.env("HOME", folder).env("TMPDIR", folder);
        command
    }

    /// The driver ends by either signal. Its browsers end with it if their sessions ask for a pipe.
    fn signals(&self) -> Signals {
        Signals {
            orderly: "TERM",
            immediate: "KILL",
        }
    }

    fn url(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}")
    }

    fn is_ready(&self, port: u16) -> bool {
        status(port).is_ok_and(|status| status.contains(r#""ready":true"#))
    }
}

/// The answer of the driver to the question of whether it can make a session. The driver leaves the connection open
/// after it, and drops a connection whose client has closed its side.
fn status(port: u16) -> io::Result<String> {
    let timeout = Duration::from_secs(2);
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream
        .write_all(format!("GET /status HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    while !answer.ends_with(b"}}") {
        match stream.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            length => answer.extend(&chunk[..length]),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_driver_is_ready_when_it_says_so() {
        assert!(is_ready_when_answered(r#"{"value":{"ready":true}}"#));
        assert!(!is_ready_when_answered(r#"{"value":{"ready":false}}"#));
        assert!(!is_ready_when_answered(""));
    }

    fn is_ready_when_answered(body: &'static str) -> bool {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /status "));
            write!(stream, "HTTP/1.1 200 OK\r\n\r\n{body}").unwrap();
        });
        let ready = Webdriver.is_ready(port);
        server.join().unwrap();
        ready
    }
}
