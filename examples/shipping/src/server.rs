//! A throw-away NATS server, for trying the example out.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail};
use tempfile::TempDir;

/// It ends with this process, and its data with it.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    port: u16,
    _data: TempDir,
}

impl Server {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let data = TempDir::new()?;
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let started = Command::new("nats-server")
            .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
            .args(["--jetstream", "--store_dir"])
            .arg(data.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(process) => Ok(Self {
                process,
                port,
                _data: data,
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => bail!(
                "there is no `nats-server` on this machine: install it (Debian: `apt install nats-server`), or \
                 name a server by `--nats-url nats://HOST`"
            ),
            Err(error) => Err(error).context("nats-server"),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
