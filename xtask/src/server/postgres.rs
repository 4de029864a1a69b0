//! The kind `postgres`.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Image, Kind, Package, Programs, Signals};

/// `PostgreSQL`, the newest version on the machine.
pub const POSTGRES: Postgres = Postgres;

/// The type of [`POSTGRES`].
#[derive(Debug, Clone, Copy)]
pub struct Postgres;

/// Not `idem`: PostgreSQL looks for tables in a schema of the user's own name first.
const USER: &str = "postgres";
const DATABASE: &str = "postgres";

/// `fsync` stays on: the tests of crashes have to hold with the default settings.
const SETTINGS: &[&str] = &["-c", "max_connections=300", "-c", "shared_buffers=128MB"];

impl Kind for Postgres {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    fn key(&self) -> &'static str {
        "postgres"
    }

    fn variable(&self) -> &'static str {
        "IDEM_TEST_POSTGRES_URL"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["initdb", "postgres"]
    }

    fn folders(&self) -> &'static [&'static str] {
        &[
            "/usr/lib/postgresql/*/bin",
            "/usr/pgsql-*/bin",
            "/opt/homebrew/opt/postgresql@*/bin",
            "/opt/homebrew/bin",
            "/usr/local/opt/postgresql@*/bin",
            "/usr/local/bin",
            "/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",
            "/Applications/Postgres.app/Contents/Versions/*/bin",
        ]
    }

    fn environment_prefixes(&self) -> &'static [&'static str] {
        &["PG"]
    }

    fn package(&self) -> Package {
        Package {
            names: &["postgresql"],
            settings: Some((
                "/etc/postgresql-common/createcluster.d/zz-idem-xtask.conf",
                "create_main_cluster = false",
            )),
        }
    }

    fn image(&self) -> Option<Image> {
        Some(Image {
            name: "postgres:17",
            port: 5432,
            environment: &["POSTGRES_USER=postgres", "POSTGRES_HOST_AUTH_METHOD=trust"],
            arguments: SETTINGS,
        })
    }

    fn users(&self) -> &'static [&'static str] {
        &["postgres", "nobody"]
    }

    fn initialise(&self, programs: &Programs, folder: &Path) -> Option<Command> {
        let mut command = Command::new(programs.path("initdb"));
        command.arg("--pgdata").arg(folder.join("data"));
        command.args([
            "--auth=trust",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
        ]);
        command.arg(format!("--username={USER}"));
        Some(command)
    }

    fn copy(&self, programs: &Programs, folder: &Path, port: u16) -> Option<Command> {
        let mut command = Command::new(programs.next_to_the_server("pg_basebackup"));
        command.arg("--pgdata").arg(folder.join("data"));
        command.args(["--host=127.0.0.1", &format!("--port={port}")]);
        command.arg(format!("--username={USER}"));
        command.args([
            "--write-recovery-conf",
            "--wal-method=stream",
            "--checkpoint=fast",
            "--no-sync",
        ]);
        Some(command)
    }

    fn start(&self, programs: &Programs, folder: &Path, port: u16) -> Command {
        let mut command = Command::new(programs.path("postgres"));
        command
            .arg("-D")
            .arg(folder.join("data"))
            .arg("-k")
            .arg(folder);
        command.args(["-h", "127.0.0.1", "-p", &port.to_string()]);
        // Shared memory in files of the data folder is removed with the folder, even after a SIGKILL.
        command.args([
            "-c",
            "dynamic_shared_memory_type=mmap",
            "-c",
            "log_min_messages=warning",
        ]);
        command.args(SETTINGS);
        command
    }

    fn signals(&self) -> Signals {
        Signals {
            orderly: "INT",
            immediate: "QUIT",
        }
    }

    fn url(&self, port: u16) -> String {
        format!("postgres://{USER}@127.0.0.1:{port}/{DATABASE}")
    }

    fn is_ready(&self, port: u16) -> bool {
        answer_to_login(port).is_ok_and(|answer| answer == AUTHENTICATION)
    }
}

const AUTHENTICATION: u8 = b'R';

/// Logs in as a client does, because the port is open long before the server accepts clients.
fn answer_to_login(port: u16) -> std::io::Result<u8> {
    let timeout = Duration::from_secs(2);
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(&login())?;
    let mut answer = [0];
    stream.read_exact(&mut answer)?;
    // Without the terminate message the server would log a lost connection.
    stream.write_all(&[b'X', 0, 0, 0, 4])?;
    Ok(answer[0])
}

/// The startup message: its length, the protocol's version, and pairs of names and values.
fn login() -> Vec<u8> {
    let body = format!("user\0{USER}\0database\0{DATABASE}\0\0");
    let length = u32::try_from(body.len() + 8).unwrap_or(u32::MAX);
    [&length.to_be_bytes()[..], &[0, 3, 0, 0], body.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[test]
    fn the_login_counts_its_own_length() {
        let message = login();
        assert_eq!(
            message[..4],
            [0, 0, 0, u8::try_from(message.len()).unwrap()]
        );
    }

    #[test]
    fn a_server_that_starts_up_is_not_ready() {
        assert!(!is_ready_when_answered(b"E"));
        assert!(!is_ready_when_answered(b""));
        assert!(is_ready_when_answered(b"R"));
    }

    fn is_ready_when_answered(answer: &'static [u8]) -> bool {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut vec![0; login().len()]).unwrap();
            stream.write_all(answer).unwrap();
        });
        let ready = Postgres.is_ready(port);
        server.join().unwrap();
        ready
    }
}
