//! A cluster of nodes that all take writes: `MariaDB` with Galera.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::iter;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::install::{self, Right};
use super::local::Local;
use super::{MARIADB, Package, Programs, port, programs};

const NODES: usize = 3;

const PACKAGE: Package = Package {
    names: &["mariadb-server-core", "mariadb-client-core", "galera-4"],
    settings: None,
};

/// Where the library can be that makes a server a node.
const PROVIDERS: &[&str] = &[
    "/usr/lib/galera/libgalera_smm.so",
    "/usr/lib64/galera-4/libgalera_smm.so",
    "/usr/lib64/galera/libgalera_smm.so",
    "/usr/lib/libgalera_smm.so",
    "/usr/local/lib/libgalera_smm.so",
];

/// How nodes get data from others: they run the program `wsrep_sst_idem`.
const METHOD: &str = "idem";

/// A cluster of three nodes for tests. Dropping it ends what [`Cluster::start`] started, as
/// [`Server`](super::Server) does.
#[derive(Debug)]
pub struct Cluster {
    urls: Vec<String>,
    /// Empty if the cluster was not started here.
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    local: Local,
    arguments: Vec<String>,
}

impl Cluster {
    /// The environment variable with the URLs of the nodes of a cluster that already runs,
    /// separated by spaces.
    pub const VARIABLE: &str = "IDEM_TEST_GALERA_URLS";

    /// The cluster that the environment variable names, or a new one if the variable is not set.
    ///
    /// # Errors
    ///
    /// As [`Cluster::start`].
    pub fn find_or_start() -> Result<Self> {
        let variable = env::var(Self::VARIABLE).unwrap_or_default();
        let urls: Vec<String> = variable.split_whitespace().map(str::to_owned).collect();
        if urls.is_empty() {
            return Self::start();
        }
        report(&format!(
            "using the cluster of {}, which is set",
            Self::VARIABLE
        ));
        Ok(Self {
            urls,
            nodes: Vec::new(),
        })
    }

    /// Starts a new cluster with empty data: from programs on this machine, else from the
    /// distribution's packages. Each node is synchronised with the others when this returns.
    ///
    /// # Errors
    ///
    /// If this machine cannot provide a cluster; the message says what to do about it.
    pub fn start() -> Result<Self> {
        let (programs, provider) = find_or_install()?;
        let mut nodes = create(&programs, &provider)?;
        let (first, others) = nodes.split_at_mut(1);
        let first = &mut first[0];
        first.local.initialise()?;
        // New data has no position in the cluster's history, and a node without a position cannot be
        // brought up to date. So the first node runs once before its data is copied.
        first.lead()?;
        first.local.stop();
        for node in &mut *others {
            node.copy(first)?;
        }
        first.lead()?;
        // One after the other: nodes that join at the same time take longer to agree on the members.
        for node in others {
            node.join()?;
        }
        for node in &nodes {
            report(&format!("started {}", node.local.description()));
        }
        let urls = nodes.iter().map(|node| node.local.url()).collect();
        Ok(Self { urls, nodes })
    }

    /// Where clients connect to each node. A restart does not change the URLs.
    pub fn urls(&self) -> &[String] {
        &self.urls
    }

    /// The end of the log of a node that has ended by itself; none while all run.
    pub fn log_of_ended(&mut self) -> Option<String> {
        let mut locals = self.nodes.iter_mut().map(|node| &mut node.local);
        let ended = locals.find_map(|local| (!local.is_running()).then_some(local))?;
        Some(format!("{}:\n{}", ended.description(), ended.log()))
    }

    /// Kills a node, counted from 0, as a crash of its machine would. The others take some seconds to
    /// notice, and commit nothing until then.
    ///
    /// # Errors
    ///
    /// If the cluster was not started here, or the node does not run.
    pub fn kill(&mut self, node: usize) -> Result<()> {
        self.node(node)?.local.kill()
    }

    /// Starts a node again with its data at the same URL. If the node still runs, it is stopped in
    /// good order first. The node has caught up when this returns. At least one other node has to run.
    ///
    /// # Errors
    ///
    /// If the cluster was not started here, or the node is not synchronised in time.
    pub fn restart(&mut self, node: usize) -> Result<()> {
        self.node(node)?.rejoin()
    }

    fn node(&mut self, node: usize) -> Result<&mut Node> {
        let what = format!("there is no node {node} of a cluster that was started here");
        self.nodes.get_mut(node).context(what)
    }
}

impl Node {
    fn copy(&mut self, other: &Self) -> Result<()> {
        let mut command = Command::new("cp");
        command.args(["-R", "-p"]);
        command.args([&other.local, &self.local].map(|local| local.folder().join("data")));
        self.local.run("copying data", command)
    }

    /// Starts as the first node, without waiting for others.
    fn lead(&mut self) -> Result<()> {
        self.set_arguments(&["--wsrep-new-cluster".to_owned()]);
        self.local.launch_on_a_free_port()
    }

    fn join(&mut self) -> Result<()> {
        self.set_arguments(&[]);
        self.local.launch_on_a_free_port()
    }

    /// A killed node determines its position only when it is started with `--wsrep-recover`.
    fn rejoin(&mut self) -> Result<()> {
        self.local.stop();
        let log = self.local.folder().join("recovery.log");
        self.set_arguments(&[
            "--wsrep-recover".to_owned(),
            format!("--log-error={}", log.display()),
        ]);
        let command = self.local.server();
        self.local.run("finding a node's position", command)?;
        let log = fs::read_to_string(log)?;
        let position = recovered(&log).context("a node's data has no position in its cluster")?;
        self.set_arguments(&[format!("--wsrep-start-position={position}")]);
        self.local.relaunch()
    }

    /// Sets the arguments that the node starts with, in addition to those of every node.
    fn set_arguments(&mut self, arguments: &[String]) {
        self.local.extras.arguments = [&self.arguments, arguments].concat();
    }
}

/// Nodes that have folders and ports, and no data yet.
fn create(programs: &Programs, provider: &Path) -> Result<Vec<Node>> {
    let locals: Result<Vec<Local>> = (0..NODES)
        .map(|_| Local::create(&MARIADB, programs.clone()))
        .collect();
    let ports: Result<Vec<[u16; 2]>> = (0..NODES)
        .map(|_| Ok([port::free()?, port::free()?]))
        .collect();
    let (locals, ports) = (locals?, ports?);
    let path = search_path(locals[0].folder())?;
    let addresses = ports.iter().map(|[group, _]| format!("127.0.0.1:{group}"));
    let cluster = addresses.collect::<Vec<_>>().join(",");
    let nodes = locals.into_iter().zip(ports).map(|(mut local, ports)| {
        local.extras.path = Some(path.clone());
        let arguments = arguments(provider, &cluster, ports);
        Node { local, arguments }
    });
    Ok(nodes.collect())
}

fn arguments(provider: &Path, cluster: &str, [group, transfer]: [u16; 2]) -> Vec<String> {
    let options = [
        format!("base_host=127.0.0.1;base_port={group}"),
        format!("gmcast.listen_addr=tcp://127.0.0.1:{group}"),
        format!("ist.recv_addr=127.0.0.1:{transfer}"),
        "gcache.size=32M".to_owned(),
        // Without this, a node that returns at once is taken for its predecessor, which is not given up yet.
        "pc.recovery=FALSE".to_owned(),
    ];
    vec![
        "--wsrep-on=ON".to_owned(),
        format!("--wsrep-provider={}", provider.display()),
        format!("--wsrep-provider-options={}", options.join(";")),
        format!("--wsrep-cluster-address=gcomm://{cluster}"),
        format!("--wsrep-node-address=127.0.0.1:{group}"),
        format!("--wsrep-sst-method={METHOD}"),
        // Only a name for the node: no data is sent there.
        format!("--wsrep-sst-receive-address=127.0.0.1:{group}"),
        "--binlog-format=ROW".to_owned(),
        "--default-storage-engine=InnoDB".to_owned(),
        "--innodb-autoinc-lock-mode=2".to_owned(),
    ]
}

/// The PATH, preceded by the folder with the program for state transfers.
fn search_path(folder: &Path) -> Result<OsString> {
    let program = folder.join(format!("wsrep_sst_{METHOD}"));
    fs::write(&program, include_str!("state_transfer.sh"))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = iter::once(folder.to_owned()).chain(env::split_paths(&path));
    Ok(env::join_paths(folders)?)
}

/// The last position in the log of a server that was started with `--wsrep-recover`.
fn recovered(log: &str) -> Option<&str> {
    let (_, rest) = log.rsplit_once("Recovered position: ")?;
    let position = rest.lines().next()?.trim();
    (!position.ends_with(":-1")).then_some(position)
}

fn find() -> Option<(Programs, PathBuf)> {
    let provider = PROVIDERS
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists());
    programs::find(&MARIADB).zip(provider)
}

fn find_or_install() -> Result<(Programs, PathBuf)> {
    if let Some(found) = find() {
        return Ok(found);
    }
    let advice = || {
        format!(
            "there is no Galera cluster for the tests, since there is no MariaDB, or no library {} \
             or the same in a similar folder. Install the packages {} (or their \
             equivalents), or set {} to the URLs of the nodes of a cluster whose data may be changed",
            PROVIDERS[0],
            PACKAGE.names.join(", "),
            Cluster::VARIABLE
        )
    };
    let right = Right::find().with_context(advice)?;
    let packages = PACKAGE.names.join(", ");
    report(&format!(
        "not on this machine, so installing the packages {packages} {}",
        right.description()
    ));
    install::install(PACKAGE, right).with_context(advice)?;
    find().with_context(advice)
}

fn report(message: &str) {
    eprintln!("xtask: Galera: {message}");
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_node_learns_its_position_and_gets_no_copy() {
        let folder = tempfile::tempdir().unwrap();
        search_path(folder.path()).unwrap();
        let transfer = |role, more: &[&str]| {
            let mut command = Command::new(folder.path().join("wsrep_sst_idem"));
            command.args(["--role", role, "--address", "127.0.0.1:1"]);
            command.args(more).stdout(Stdio::piped());
            command.spawn().unwrap()
        };
        let parent = std::process::id().to_string();
        let position = ["--gtid", "uuid:7", "--gtid-domain-id", "0"];

        assert!(!transfer("donor", &position).wait().unwrap().success());

        let mut joiner = transfer("joiner", &["--parent", &parent]);
        let mut said = BufReader::new(joiner.stdout.take().unwrap()).lines();
        assert_eq!(said.next().unwrap().unwrap(), "ready 127.0.0.1:1");
        let donor = transfer("donor", &[&position[..], &["--bypass"]].concat());
        let output = donor.wait_with_output().unwrap();
        assert_eq!(output.stdout, b"done uuid:7 0\n");
        assert_eq!(said.next().unwrap().unwrap(), "uuid:7 0");
        assert!(joiner.wait().unwrap().success());
    }

    #[test]
    fn the_position_is_the_last_one_in_the_log() {
        let line = |position| format!("12:00:00 0 [Note] WSREP: Recovered position: {position}\n");
        let (old, new) = ("1696f534-e631:6", "1696f534-e631:7");
        let log = format!("{}{}Server socket created\n", line(old), line(new));
        assert_eq!(recovered(&log), Some(new));
        assert_eq!(recovered(&line("00000000-0000:-1")), None);
        assert_eq!(recovered("Aborting"), None);
    }
}
