//! The kind `rabbitmq`.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::{Image, Kind, Package, Programs, Signals};

/// `RabbitMQ`, without plugins.
pub const RABBITMQ: RabbitMq = RabbitMq;

/// The type of [`RABBITMQ`].
#[derive(Debug, Clone, Copy)]
pub struct RabbitMq;

/// For Erlang's programs: none of them starts `epmd`, a daemon that outlives them.
const NO_DAEMON: &str = "-start_epmd false";

/// A node that no other node can reach needs no `epmd`. `RabbitMQ` asks for the node's port nevertheless, and takes any.
const ALONE: &str = "-dist_listen false -erl_epmd_port";

const NODE: &str = "rabbit@localhost";

impl Kind for RabbitMq {
    fn name(&self) -> &'static str {
        "RabbitMQ"
    }

    fn key(&self) -> &'static str {
        "rabbitmq"
    }

    fn variable(&self) -> &'static str {
        "IDEM_TEST_RABBITMQ_URL"
    }

    /// Debian has a program named `rabbitmq-server` in the PATH that changes the user and the folder. It is not next to
    /// `rabbitmq-env`.
    fn programs(&self) -> &'static [&'static str] {
        &["rabbitmq-env", "rabbitmq-server"]
    }

    fn folders(&self) -> &'static [&'static str] {
        &[
            "/usr/lib/rabbitmq/bin",
            "/opt/homebrew/sbin",
            "/usr/local/sbin",
        ]
    }

    fn environment_prefixes(&self) -> &'static [&'static str] {
        &["RABBITMQ_", "ERL_"]
    }

    fn package(&self) -> Package {
        Package {
            names: &["rabbitmq-server"],
            settings: None,
        }
    }

    fn image(&self) -> Option<Image> {
        Some(Image {
            name: "rabbitmq:4",
            port: 5672,
            environment: &[],
            arguments: &[],
        })
    }

    fn users(&self) -> &'static [&'static str] {
        &["rabbitmq", "nobody"]
    }

    fn initialise(&self, _: &Programs, _: &Path) -> Option<Command> {
        None
    }

    /// The script becomes the server, as under systemd: otherwise it stays, and a SIGKILL ends the script alone.
    fn start(&self, programs: &Programs, folder: &Path, port: u16) -> Command {
        let mut command = Command::new(programs.server());
        let node = format!("-sname {NODE} -setcookie {port} {ALONE} {port}");
        command
            .env("RUNNING_UNDER_SYSTEMD", "true")
            .env("HOME", folder)
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", folder.join("none"))
            .env("RABBITMQ_ADVANCED_CONFIG_FILE", folder.join("none"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", folder.join("none"))
            .env("RABBITMQ_MNESIA_BASE", folder.join("mnesia"))
            .env("RABBITMQ_LOGS", "-")
            .env("RABBITMQ_UPGRADE_LOG", "-")
            .env("RABBITMQ_NODENAME", NODE)
            .env("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODE_PORT", port.to_string())
            .env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", node)
            .env("ERL_AFLAGS", NO_DAEMON);
        command
    }

    fn signals(&self) -> Signals {
        Signals {
            orderly: "TERM",
            immediate: "KILL",
        }
    }

    fn url(&self, port: u16) -> String {
        format!("amqp://127.0.0.1:{port}")
    }

    fn is_ready(&self, port: u16) -> bool {
        answer_to_header(port).is_ok_and(|first| first == METHOD)
    }
}

/// The type of the frame that asks a client who it is.
const METHOD: u8 = 1;

/// The first byte after a client's protocol header.
fn answer_to_header(port: u16) -> io::Result<u8> {
    let timeout = Duration::from_secs(2);
    let mut stream =
        TcpStream::connect_timeout(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)), timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    let mut first = [0];
    stream.read_exact(&mut first)?;
    Ok(first[0])
}
