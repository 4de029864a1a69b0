//! The kinds of servers.

use std::fmt::Debug;
use std::path::Path;
use std::process::Command;

use super::{MARIADB, NATS, POSTGRES, Programs, RABBITMQ, REDIS, WEBDRIVER};

/// Every kind that the tests need.
pub const KINDS: &[&dyn Kind] = &[&POSTGRES, &MARIADB, &REDIS, &NATS, &RABBITMQ, &WEBDRIVER];

/// The SQL databases.
pub const DATABASES: &[&dyn Kind] = &[&POSTGRES, &MARIADB];

/// The kind with this [`Kind::key`].
pub fn by_key(key: &str) -> Option<&'static dyn Kind> {
    KINDS.iter().copied().find(|kind| kind.key() == key)
}

/// A kind of server: how to find, initialise, start and recognise it.
pub trait Kind: Debug + Send + Sync {
    /// The name for people.
    fn name(&self) -> &'static str;

    /// The name for command lines, folders and containers.
    fn key(&self) -> &'static str;

    /// The environment variable with the URL of a server that already runs.
    fn variable(&self) -> &'static str;

    /// The programs that are needed to run a server; the last is the server itself.
    fn programs(&self) -> &'static [&'static str];

    /// Where the programs can be apart from the PATH, best first. One component of each folder can
    /// contain a `*`; its matches are tried from the newest version to the oldest.
    fn folders(&self) -> &'static [&'static str];

    /// The prefixes of the environment variables that the programs read. The programs run without
    /// these variables, so a developer's settings change nothing.
    fn environment_prefixes(&self) -> &'static [&'static str];

    /// The distribution's package.
    fn package(&self) -> Package;

    /// The container image, if a server in a container can serve the tests.
    fn image(&self) -> Option<Image>;

    /// The users to run the server as if the caller is root: the first that exists is taken.
    fn users(&self) -> &'static [&'static str];

    /// The command that creates the data in the folder, which exists and is empty, if the server has data.
    fn initialise(&self, programs: &Programs, folder: &Path) -> Option<Command>;

    /// The command that creates, in such a folder, a standby's copy of the data of the server on this
    /// port. The copy follows that server through the port. None if the kind has no standbys here.
    fn copy(&self, _programs: &Programs, _folder: &Path, _port: u16) -> Option<Command> {
        None
    }

    /// The command that runs the server in the foreground, with its log on standard error.
    fn start(&self, programs: &Programs, folder: &Path, port: u16) -> Command;

    /// The signals that end the server's main process.
    fn signals(&self) -> Signals;

    /// The URL of the server started on this port.
    fn url(&self, port: u16) -> String;

    /// Whether the server on this port accepts a client.
    fn is_ready(&self, port: u16) -> bool;
}

/// What to install on a distribution with `apt-get`.
#[derive(Debug, Clone, Copy)]
pub struct Package {
    /// The names of the packages.
    pub names: &'static [&'static str],
    /// A settings file and its content. The file exists only during the installation, and keeps the
    /// packages from creating data of their own.
    pub settings: Option<(&'static str, &'static str)>,
}

/// A container image.
#[derive(Debug, Clone, Copy)]
pub struct Image {
    /// Its name and tag.
    pub name: &'static str,
    /// The port on which the server inside listens.
    pub port: u16,
    /// Its environment, each as `NAME=value`.
    pub environment: &'static [&'static str],
    /// The arguments of the server inside.
    pub arguments: &'static [&'static str],
}

/// Signals by their names without `SIG`.
#[derive(Debug, Clone, Copy)]
pub struct Signals {
    /// Ends the server at once, but with its data in good order.
    pub orderly: &'static str,
    /// Ends the server as fast as it can without leaving processes behind.
    pub immediate: &'static str,
}
