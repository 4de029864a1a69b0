//! Throw-away servers: found, started, killed, restarted and ended.

mod docker;
mod folder;
mod galera;
mod install;
mod kind;
mod local;
mod mariadb;
mod nats;
mod port;
mod postgres;
mod programs;
mod provide;
mod rabbitmq;
mod redis;
mod tool;
mod watchdog;
mod webdriver;

use std::env;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

pub use galera::Cluster;
pub use kind::{DATABASES, Image, KINDS, Kind, Package, Signals, by_key};
pub use mariadb::MARIADB;
pub use nats::NATS;
pub use port::free as free_port;
pub use postgres::POSTGRES;
pub use programs::Programs;
pub use rabbitmq::RABBITMQ;
pub use redis::REDIS;
pub use tool::{PYTHON, TOOLS, Tool};
pub use webdriver::WEBDRIVER;

use docker::Container;
use local::{Extras, Local};

/// How long a server may take until it accepts connections.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// A server for tests. Dropping it ends what [`Server::start`] started, and nothing else.
///
/// If the process dies without dropping it, a small helper process ends the server instead.
#[derive(Debug)]
pub struct Server {
    kind: &'static dyn Kind,
    url: String,
    host: Host,
}

#[derive(Debug)]
enum Host {
    /// A server that was there before, named by the kind's environment variable.
    Foreign,
    Local(Local),
    Container(Container),
}

impl Server {
    /// The server that the kind's environment variable names, or a new one if the variable is not set.
    /// One line on standard error says which, and why.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub fn find_or_start(kind: &'static dyn Kind) -> Result<Self> {
        match env::var(kind.variable()) {
            Ok(url) if !url.is_empty() => {
                eprintln!(
                    "xtask: {}: using the server of {}, which is set",
                    kind.name(),
                    kind.variable()
                );
                Ok(Self {
                    kind,
                    url,
                    host: Host::Foreign,
                })
            }
            _ => Self::start_because(kind, &format!("{} is not set", kind.variable())),
        }
    }

    /// One of each of these kinds.
    ///
    /// # Errors
    ///
    /// As [`Server::start`].
    pub fn find_or_start_all(kinds: &[&'static dyn Kind]) -> Result<Vec<Self>> {
        kinds.iter().copied().map(Self::find_or_start).collect()
    }

    /// Starts a new server with empty data: from programs on this machine, else from the
    /// distribution's package, else from a container image if the kind has one. The server is ready when this returns.
    ///
    /// # Errors
    ///
    /// If nothing on this machine can provide a server; the message says what to do about it.
    pub fn start(kind: &'static dyn Kind) -> Result<Self> {
        Self::start_because(kind, "a new one was asked for")
    }

    /// As [`start`](Self::start), from programs on this machine, with the data in this folder.
    ///
    /// # Errors
    ///
    /// If the programs are missing, or the server does not start.
    pub fn start_in(kind: &'static dyn Kind, folder: &Path) -> Result<Self> {
        let local = Local::start(kind, Self::programs(kind)?, Some(folder))?;
        Ok(Self::local(kind, local))
    }

    /// As [`start`](Self::start), from programs on this machine, under another program such as valgrind, with its
    /// arguments. It runs in the server's temporary folder.
    ///
    /// # Errors
    ///
    /// If the programs are missing, or the server does not start.
    pub fn start_under(kind: &'static dyn Kind, under: Vec<String>) -> Result<Self> {
        let extras = Extras {
            under,
            ..Extras::default()
        };
        let local = Local::start_with(kind, Self::programs(kind)?, extras)?;
        Ok(Self::local(kind, local))
    }

    /// As [`start`](Self::start), from programs on this machine, with more arguments.
    ///
    /// # Errors
    ///
    /// If the programs are missing, or the server does not start.
    pub fn start_with(kind: &'static dyn Kind, arguments: Vec<String>) -> Result<Self> {
        let extras = Extras {
            arguments,
            ..Extras::default()
        };
        let local = Local::start_with(kind, Self::programs(kind)?, extras)?;
        Ok(Self::local(kind, local))
    }

    fn programs(kind: &'static dyn Kind) -> Result<Programs> {
        let programs = programs::find(kind);
        programs.with_context(|| format!("there is no {} on this machine", kind.name()))
    }

    /// Starts a standby: a server with a copy of this one's data, which follows this one through a port
    /// on loopback.
    ///
    /// # Errors
    ///
    /// If this server was not started from programs on this machine, or its kind has no standbys here.
    pub fn start_standby(&self, port: u16) -> Result<Self> {
        match &self.host {
            Host::Local(local) => Ok(Self::local(self.kind, local.start_standby(port)?)),
            Host::Foreign | Host::Container(_) => {
                bail!(
                    "{}: only a server that was started from programs on this machine can have a standby",
                    self.kind.name()
                )
            }
        }
    }

    fn local(kind: &'static dyn Kind, local: Local) -> Self {
        Self {
            kind,
            url: local.url(),
            host: Host::Local(local),
        }
    }

    fn start_because(kind: &'static dyn Kind, why: &str) -> Result<Self> {
        let (host, port) = provide::provide(kind, why)?;
        Ok(Self {
            kind,
            url: kind.url(port),
            host,
        })
    }

    /// The kind of the server.
    pub fn kind(&self) -> &'static dyn Kind {
        self.kind
    }

    /// The environment variable in which tests look for the server, and its value.
    pub fn variable(&self) -> (&'static str, &str) {
        (self.kind.variable(), &self.url)
    }

    /// Where clients connect. A restart does not change the URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The server's main process. None while the server is killed, in a container, or not started here.
    pub fn pid(&self) -> Option<u32> {
        match &self.host {
            Host::Local(local) => local.pid(),
            Host::Foreign | Host::Container(_) => None,
        }
    }

    /// Whether the server's main process still runs. A server that was not started here counts as running.
    pub fn is_running(&mut self) -> bool {
        match &mut self.host {
            Host::Foreign => true,
            Host::Local(local) => local.is_running(),
            Host::Container(container) => container.is_running(),
        }
    }

    /// The end of the server's log.
    pub fn log(&self) -> String {
        match &self.host {
            Host::Foreign => String::new(),
            Host::Local(local) => local.log(),
            Host::Container(container) => container.log(),
        }
    }

    /// Ends all processes of the server with SIGKILL, as a crash of its machine would.
    ///
    /// # Errors
    ///
    /// If the server was not started here, or does not run.
    pub fn kill(&mut self) -> Result<()> {
        match &mut self.host {
            Host::Foreign => self.refuse("kill"),
            Host::Local(local) => local.kill(),
            Host::Container(container) => container.kill(),
        }
    }

    /// Ends the server at once without finishing its work, as `pg_ctl stop -m immediate` does.
    ///
    /// # Errors
    ///
    /// If the server was not started from programs on this machine.
    pub fn stop_immediately(&mut self) -> Result<()> {
        match &mut self.host {
            Host::Foreign | Host::Container(_) => self.refuse("stop"),
            Host::Local(local) => {
                local.stop_immediately();
                Ok(())
            }
        }
    }

    /// Starts the server again with the same data at the same URL. If it still runs, it is stopped in
    /// good order first. The server is ready when this returns.
    ///
    /// # Errors
    ///
    /// If the server was not started here, or does not become ready.
    pub fn restart(&mut self) -> Result<()> {
        match &mut self.host {
            Host::Foreign => self.refuse("restart"),
            Host::Local(local) => local.restart(),
            Host::Container(container) => container.restart(),
        }
    }

    fn refuse(&self, action: &str) -> Result<()> {
        let (name, variable) = (self.kind.name(), self.kind.variable());
        bail!(
            "will not {action} the {name} of {variable}, which was not started here; unset {variable}"
        )
    }
}
