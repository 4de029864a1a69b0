//! The test service and the examples as processes.

use std::collections::HashMap;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command as StdCommand, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{sleep, timeout};

use crate::client::Request;
use crate::database::Database;

/// How long a process may take to start or to end.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A place for a service: a database, and the program that serves it.
#[derive(Debug)]
pub struct Site<D> {
    /// The database.
    pub database: D,
    /// The name of the program.
    pub program: &'static str,
}

/// A running service. Dropping it kills it.
#[derive(Debug)]
pub struct Service {
    /// The address of the service.
    pub address: SocketAddr,
    child: Child,
    log: NamedTempFile,
    // Kept open, as the service continues to write to it.
    output: Lines<BufReader<ChildStdout>>,
}

impl Service {
    /// Starts the service.
    pub async fn start<D: Database>(site: &Site<D>) -> Self {
        Self::working(site, Duration::ZERO).await
    }

    /// Starts the service with handlers that work for a while inside their transactions.
    pub async fn working<D: Database>(site: &Site<D>, work: Duration) -> Self {
        Self::with(site, work, &[]).await
    }

    /// The same, with more arguments.
    pub async fn with<D: Database>(site: &Site<D>, work: Duration, arguments: &[&str]) -> Self {
        let url = site.database.url();
        let work = work.as_millis().to_string();
        let first = ["--database-url", &url, "--work-ms", &work];
        Self::run(site.program, &[&first, arguments].concat()).await
    }

    /// Starts any program that listens and says where.
    pub async fn run(name: &str, arguments: &[&str]) -> Self {
        let log = NamedTempFile::new().expect("a temporary file");
        let stderr = log.reopen().expect("the file can be opened twice");
        let mut child = Command::new(program(name))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .expect("the service starts");
        let output = child.stdout.take().expect("a piped output");
        let mut output = BufReader::new(output).lines();
        let line = timeout(TIMEOUT, output.next_line()).await;
        let line = line.ok().and_then(Result::ok).flatten();
        let address = line
            .as_deref()
            .and_then(|line| line.strip_prefix("listening on http://"))
            .and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("{line:?}; its log:\n{}", read(log.path())));
        Self {
            address,
            child,
            log,
            output,
        }
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id().expect("the service runs")
    }

    /// A request of the tenant `acme`.
    pub fn request(&self, method: &str, target: &str) -> Request {
        let request = Request::new(self.address, method, target);
        request
            .without("x-tenant")
            .header("authorization", "Bearer acme")
    }

    /// A POST of the tenant `acme`.
    pub fn post(&self, target: &str) -> Request {
        self.request("POST", target)
    }

    /// The JSON that a GET of the tenant `acme` returns.
    pub async fn get(&self, target: &str) -> Value {
        let answer = self.request("GET", target).send().await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// The rest of the next output line that begins with `prefix`.
    pub async fn printed(&mut self, prefix: &str) -> String {
        let line = async {
            while let Some(line) = self.output.next_line().await.expect("an output in UTF-8") {
                if let Some(rest) = line.strip_prefix(prefix) {
                    return rest.to_owned();
                }
            }
            panic!("the service has ended before it printed {prefix:?}");
        };
        timeout(TIMEOUT, line).await.expect("a line in time")
    }

    /// Asks the service to end, by SIGTERM.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Asks the service to end, by SIGINT, as Ctrl-C does.
    pub fn interrupt(&self) {
        self.signal("INT");
    }

    /// Stops the service where it is, by SIGSTOP.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen service continue.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let id = self.id().to_string();
        // The shell's own `kill` exists even if no package installs a program of that name.
        let killed = StdCommand::new("sh")
            .args(["-c", "kill -s \"$1\" -- \"$2\"", "kill", name, &id])
            .status();
        assert!(killed.is_ok_and(|status| status.success()));
    }

    /// Waits for the end of the service.
    pub async fn ended(mut self) -> ExitStatus {
        let ended = timeout(TIMEOUT, self.child.wait()).await;
        ended.expect("the service ends").expect("it has a status")
    }

    /// Kills the service by SIGKILL.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("the service runs");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the service's log:\n{}", read(self.log.path()));
        }
    }
}

/// Waits until a session is inside a transaction, so until a handler works.
pub async fn until_working<D: Database>(observer: &mut D::Connection) {
    // A purge has a transaction, too, but a shorter one.
    const LONGER: Duration = Duration::from_millis(50);
    let until = Instant::now() + TIMEOUT;
    let mut idle = Instant::now();
    while idle.elapsed() < LONGER {
        if D::unfinished(observer).await == 0 {
            idle = Instant::now();
        }
        assert!(Instant::now() < until, "no handler works");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The packages to build: the test service, and the examples.
const PACKAGES: [&str; 7] = [
    "idem-service",
    "payments",
    "payments-actix",
    "payments-auth",
    "payments-mysql",
    "payments-postgres",
    "rides",
];

/// Builds the programs once, and returns the path of one.
fn program(name: &str) -> &'static Path {
    static PROGRAMS: OnceLock<HashMap<String, PathBuf>> = OnceLock::new();
    let programs = PROGRAMS.get_or_init(build);
    programs
        .get(name)
        .unwrap_or_else(|| panic!("no program {name}: {programs:?}"))
}

fn build() -> HashMap<String, PathBuf> {
    let output = StdCommand::new(env!("CARGO"))
        .args(["build", "--bins"])
        .args(PACKAGES.map(|package| format!("--package={package}")))
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo can be run");
    assert!(output.status.success(), "the programs don't build");
    let messages = output.stdout.split(|&byte| byte == b'\n');
    let programs = messages.filter_map(|message| {
        let message: Value = serde_json::from_slice(message).ok()?;
        let name = message["target"]["name"].as_str()?.to_owned();
        let executable = message["executable"].as_str()?;
        Some((name, PathBuf::from(executable)))
    });
    programs.collect()
}

fn read(log: &Path) -> String {
    let read = File::open(log).and_then(std::io::read_to_string);
    read.unwrap_or_default()
}
