//! The kind `nats`.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Image, Kind, Package, Programs, Signals};

/// NATS, with streams that are stored.
pub const NATS: Nats = Nats;

/// The type of [`NATS`].
#[derive(Debug, Clone, Copy)]
pub struct Nats;

impl Kind for Nats {
    fn name(&self) -> &'static str {
        "NATS"
    }

    fn key(&self) -> &'static str {
        "nats"
    }

    fn variable(&self) -> &'static str {
        "IDEM_TEST_NATS_URL"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["nats-server"]
    }

    fn folders(&self) -> &'static [&'static str] {
        &["/usr/sbin", "/opt/homebrew/bin", "/usr/local/bin"]
    }

    fn environment_prefixes(&self) -> &'static [&'static str] {
        &["NATS_"]
    }

    fn package(&self) -> Package {
        Package {
            names: &["nats-server"],
            settings: None,
        }
    }

    fn image(&self) -> Option<Image> {
        Some(Image {
            name: "nats:2",
            port: 4222,
            environment: &[],
            arguments: &["-js"],
        })
    }

    fn users(&self) -> &'static [&'static str] {
        &["nats", "nobody"]
    }

    fn initialise(&self, _: &Programs, _: &Path) -> Option<Command> {
        None
    }

    fn start(&self, programs: &Programs, folder: &Path, port: u16) -> Command {
        let mut command = Command::new(programs.server());
        command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]);
        command.arg("--jetstream").arg("--store_dir").arg(folder);
        command
    }

    fn signals(&self) -> Signals {
        Signals {
            orderly: "INT",
            immediate: "KILL",
        }
    }

    fn url(&self, port: u16) -> String {
        format!("nats://127.0.0.1:{port}")
    }

    /// The first line is about the server. It says whether the streams are there.
    fn is_ready(&self, port: u16) -> bool {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let timeout = Duration::from_secs(2);
        let Ok(stream) = TcpStream::connect_timeout(&address, timeout) else {
            return false;
        };
        let mut line = String::new();
        let read = stream
            .set_read_timeout(Some(timeout))
            .and_then(|()| BufReader::new(stream).read_line(&mut line));
        read.is_ok() && line.contains(r#""jetstream":true"#)
    }
}
