//! The kind `mariadb`.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Image, Kind, Package, Programs, Signals};

/// `MariaDB`, the one on the machine.
pub const MARIADB: Mariadb = Mariadb;

/// The type of [`MARIADB`].
#[derive(Debug, Clone, Copy)]
pub struct Mariadb;

const USER: &str = "root";
const DATABASE: &str = "mysql";

/// The settings of durability keep their defaults: the tests of crashes have to hold with these.
const SETTINGS: &[&str] = &[
    "--max-connections=400",
    "--innodb-buffer-pool-size=192M",
    "--skip-name-resolve",
];

impl Kind for Mariadb {
    fn name(&self) -> &'static str {
        "MariaDB"
    }

    fn key(&self) -> &'static str {
        "mariadb"
    }

    fn variable(&self) -> &'static str {
        "IDEM_TEST_MYSQL_URL"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["mariadb-install-db", "mariadbd"]
    }

    fn folders(&self) -> &'static [&'static str] {
        &[
            "/usr/bin",
            "/usr/sbin",
            "/usr/libexec",
            "/opt/homebrew/opt/mariadb@*/bin",
            "/opt/homebrew/bin",
            "/usr/local/opt/mariadb@*/bin",
            "/usr/local/bin",
            "/usr/local/libexec",
            "/home/linuxbrew/.linuxbrew/opt/mariadb@*/bin",
            "/home/linuxbrew/.linuxbrew/bin",
        ]
    }

    fn environment_prefixes(&self) -> &'static [&'static str] {
        &["MARIADB", "MYSQL", "UMASK"]
    }

    /// Not `mariadb-server`, which creates data and starts a server at every boot. The program that
    /// creates data needs one of the client's programs.
    fn package(&self) -> Package {
        Package {
            names: &["mariadb-server-core", "mariadb-client-core"],
            settings: None,
        }
    }

    fn image(&self) -> Option<Image> {
        Some(Image {
            name: "mariadb:11",
            port: 3306,
            environment: &["MARIADB_ALLOW_EMPTY_ROOT_PASSWORD=1"],
            arguments: SETTINGS,
        })
    }

    fn users(&self) -> &'static [&'static str] {
        &["mysql", "nobody"]
    }

    fn initialise(&self, programs: &Programs, folder: &Path) -> Option<Command> {
        let mut command = Command::new(programs.path("mariadb-install-db"));
        command.args(common(folder));
        // Root can log in through TCP without a password, and the name of this machine does not matter.
        command.args([
            "--auth-root-authentication-method=normal",
            "--cross-bootstrap",
            "--skip-test-db",
        ]);
        command.args(["--sync-frm=0", "--loose-innodb-flush-method=nosync"]);
        Some(command)
    }

    fn start(&self, programs: &Programs, folder: &Path, port: u16) -> Command {
        let mut command = Command::new(programs.path("mariadbd"));
        command.args(common(folder));
        for (option, file) in [("socket", "socket"), ("pid-file", "pid")] {
            command.arg(format!("--{option}={}", folder.join(file).display()));
        }
        command.args(["--bind-address=127.0.0.1", &format!("--port={port}")]);
        // No warnings about broken connections: the tests kill clients.
        command.arg("--log-warnings=1");
        command.args(SETTINGS);
        command
    }

    /// The server is one process, so nothing of it survives a SIGKILL.
    fn signals(&self) -> Signals {
        Signals {
            orderly: "TERM",
            immediate: "KILL",
        }
    }

    fn url(&self, port: u16) -> String {
        format!("mysql://{USER}@127.0.0.1:{port}/{DATABASE}")
    }

    fn is_ready(&self, port: u16) -> bool {
        statement(port, "DO 0").is_ok_and(|answer| answer == OK)
    }
}

/// `--no-defaults` has to be the first argument.
fn common(folder: &Path) -> [String; 3] {
    [
        "--no-defaults".to_owned(),
        format!("--datadir={}", folder.join("data").display()),
        format!("--tmpdir={}", folder.display()),
    ]
}

const HANDSHAKE: u8 = 10;
const OK: u8 = 0;
const QUIT: u8 = 1;
const QUERY: u8 = 3;

/// Logs in and runs a statement, because the port is open before the server accepts clients, and a node of a cluster
/// accepts clients before it runs their statements. Returns the first byte of the server's last answer. A client that
/// only connects counts as an error of its host, and after a hundred errors the server refuses the host.
fn statement(port: u16, text: &str) -> io::Result<u8> {
    let timeout = Duration::from_secs(2);
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    let mut answer = receive(&mut stream)?;
    if answer == HANDSHAKE {
        send(&mut stream, 1, &login())?;
        answer = receive(&mut stream)?;
    }
    if answer == OK {
        send(&mut stream, 0, &[&[QUERY], text.as_bytes()].concat())?;
        answer = receive(&mut stream)?;
        send(&mut stream, 0, &[QUIT])?;
    }
    Ok(answer)
}

/// Capabilities, the longest packet, the character set, filler, the user, and an empty password.
fn login() -> Vec<u8> {
    const LONG_PASSWORD: u32 = 1;
    const PROTOCOL_41: u32 = 1 << 9;
    const SECURE_CONNECTION: u32 = 1 << 15;
    const UTF8MB4: u8 = 45;
    let capabilities = LONG_PASSWORD | PROTOCOL_41 | SECURE_CONNECTION;
    let mut packet = capabilities.to_le_bytes().to_vec();
    packet.extend((1_u32 << 24).to_le_bytes());
    packet.push(UTF8MB4);
    packet.extend([0; 23]);
    packet.extend(USER.as_bytes());
    packet.extend([0, 0]);
    packet
}

/// A packet begins with its length, in three bytes, and its number.
fn send(stream: &mut TcpStream, number: u8, packet: &[u8]) -> io::Result<()> {
    let length = u32::try_from(packet.len())
        .unwrap_or(u32::MAX)
        .to_le_bytes();
    stream.write_all(&[&length[..3], &[number], packet].concat())
}

/// The first byte of a packet, which is its type.
fn receive(stream: &mut TcpStream) -> io::Result<u8> {
    let mut head = [0; 4];
    stream.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[0], head[1], head[2], 0]);
    let mut packet = Vec::new();
    stream.take(u64::from(length)).read_to_end(&mut packet)?;
    packet
        .first()
        .copied()
        .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    const ERROR: u8 = 0xff;

    #[test]
    fn a_server_is_ready_when_it_runs_a_statement() {
        assert!(is_ready_when_answered(&[HANDSHAKE, OK, OK]));
        assert!(!is_ready_when_answered(&[]));
        assert!(!is_ready_when_answered(&[ERROR]));
        assert!(!is_ready_when_answered(&[HANDSHAKE, ERROR]));
        assert!(!is_ready_when_answered(&[HANDSHAKE, OK, ERROR]));
    }

    /// The server of this test sends a packet of two bytes, and waits for one before the next.
    fn is_ready_when_answered(answers: &'static [u8]) -> bool {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for answer in answers {
                stream.write_all(&[2, 0, 0, 0, *answer, 0]).unwrap();
                let _ = receive(&mut stream);
            }
        });
        let ready = Mariadb.is_ready(port);
        server.join().unwrap();
        ready
    }

    #[test]
    fn a_packet_begins_with_its_length() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        send(&mut client, 1, b"abc").unwrap();
        drop(client);
        let mut sent = Vec::new();
        listener.accept().unwrap().0.read_to_end(&mut sent).unwrap();
        assert_eq!(sent, [3, 0, 0, 1, b'a', b'b', b'c']);
    }
}
