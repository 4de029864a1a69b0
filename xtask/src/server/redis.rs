//! The kind `redis`.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Image, Kind, Package, Programs, Signals, programs};

/// Redis or Valkey.
pub const REDIS: Redis = Redis;

/// The type of [`REDIS`].
#[derive(Debug, Clone, Copy)]
pub struct Redis;

const PROGRAMS: &[&str] = &["redis-server"];
const VALKEY: &[&str] = &["valkey-server"];

impl Kind for Redis {
    fn name(&self) -> &'static str {
        "Redis"
    }

    fn key(&self) -> &'static str {
        "redis"
    }

    fn variable(&self) -> &'static str {
        "IDEM_TEST_REDIS_URL"
    }

    /// Valkey is as good, where there is no Redis.
    fn programs(&self) -> &'static [&'static str] {
        let is_here = |names: &[&str]| programs::find_named(names, self.folders()).is_some();
        if !is_here(PROGRAMS) && is_here(VALKEY) {
            return VALKEY;
        }
        PROGRAMS
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
        &[]
    }

    fn package(&self) -> Package {
        Package {
            names: &["redis-server"],
            settings: None,
        }
    }

    fn image(&self) -> Option<Image> {
        Some(Image {
            name: "redis:7",
            port: 6379,
            environment: &[],
            arguments: &["--appendonly", "yes"],
        })
    }

    fn users(&self) -> &'static [&'static str] {
        &["redis", "nobody"]
    }

    fn initialise(&self, _: &Programs, _: &Path) -> Option<Command> {
        None
    }

    /// Each write is on the disk before its answer: the tests of crashes mean losses that are by design.
    fn start(&self, programs: &Programs, folder: &Path, port: u16) -> Command {
        let mut command = Command::new(programs.server());
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
        command.arg("--dir").arg(folder);
        command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        command.args(["--save", "", "--repl-diskless-sync-delay", "0"]);
        command
    }

    fn signals(&self) -> Signals {
        Signals {
            orderly: "TERM",
            immediate: "KILL",
        }
    }

    fn url(&self, port: u16) -> String {
        format!("redis://127.0.0.1:{port}/")
    }

    fn is_ready(&self, port: u16) -> bool {
        answer_to_ping(port).is_ok_and(|answer| answer == *b"+PONG\r\n")
    }
}

/// A server that reads its data answers that it is loading.
fn answer_to_ping(port: u16) -> io::Result<[u8; 7]> {
    let timeout = Duration::from_secs(2);
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 7];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn a_server_that_reads_its_data_is_not_ready() {
        assert!(is_ready_when_answered("+PONG\r\n"));
        assert!(!is_ready_when_answered(
            "-LOADING Redis is loading the dataset in memory\r\n"
        ));
        assert!(!is_ready_when_answered(""));
    }

    fn is_ready_when_answered(answer: &'static str) -> bool {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 6]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let ready = Redis.is_ready(port);
        server.join().unwrap();
        ready
    }
}
