//! A throw-away Redis server, for trying the example out.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use idem_redis::RedisStore;
use tempfile::TempDir;
use tokio::time::sleep;

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
        for program in ["valkey-server", "redis-server"] {
            let started = Command::new(program)
                .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
                .args(["--appendonly", "yes", "--dir"])
                .arg(data.path())
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .spawn();
            match started {
                Ok(process) => {
                    return Ok(Self {
                        process,
                        port,
                        _data: data,
                    });
                }
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).context(program),
            }
        }
        bail!(
            "there is neither `valkey-server` nor `redis-server` on this machine: install one of them \
             (Debian: `apt install redis-server`), or name a server by `--redis-url redis://HOST/`"
        )
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Connects to a server that may be starting.
pub(crate) async fn connect(url: &str) -> anyhow::Result<RedisStore> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        match RedisStore::connect(url).await {
            Ok(store) => return Ok(store),
            Err(_) if Instant::now() < until => sleep(Duration::from_millis(50)).await,
            Err(error) => return Err(error).with_context(|| format!("no answer from {url}")),
        }
    }
}
