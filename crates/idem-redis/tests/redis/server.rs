//! Servers of one test alone. They end with it, also after a panic.

use std::process::Command;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue};
use tokio::time::{Instant, sleep};
#[cfg(feature = "cluster")]
use xtask::server::free_port;
use xtask::server::{REDIS, Server};

/// How long anything may take.
const LIMIT: Duration = Duration::from_secs(20);

/// A server that is configured, frozen and killed.
pub(crate) struct Private {
    server: Server,
}

impl Private {
    pub(crate) fn start() -> Self {
        let server = Server::start(&REDIS).expect("a server of its own");
        Self { server }
    }

    #[cfg(any(feature = "cluster", feature = "tls"))]
    pub(crate) fn with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|&argument| argument.to_owned());
        let server = Server::start_with(&REDIS, arguments.collect());
        let server = server.expect("a server of its own");
        Self { server }
    }

    /// One that can be a node of a cluster.
    #[cfg(feature = "cluster")]
    pub(crate) fn node() -> Self {
        // The usual one can be the port of an outgoing connection.
        let bus = free_port().expect("a free port").to_string();
        Self::with(&["--cluster-enabled", "yes", "--cluster-port", &bus])
    }

    /// A replica that has all of the primary's data.
    pub(crate) async fn replica_of(primary: &Self) -> Self {
        let replica = Self::start();
        replica.follow(primary).await;
        replica
    }

    pub(crate) fn url(&self) -> &str {
        self.server.url()
    }

    pub(crate) fn port(&self) -> u16 {
        let (_, port) = self
            .url()
            .trim_end_matches('/')
            .rsplit_once(':')
            .expect("a port");
        port.parse().expect("a port")
    }

    /// Runs a command, each word of it an argument.
    pub(crate) async fn run<T: FromRedisValue>(&self, command: &str) -> T {
        run(self.url(), command).await
    }

    pub(crate) async fn set(&self, setting: &str) {
        self.run::<()>(&format!("CONFIG SET {setting}")).await;
    }

    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        connection(self.url()).await
    }

    pub(crate) async fn follow(&self, primary: &Self) {
        let port = primary.port();
        self.run::<()>(&format!("REPLICAOF 127.0.0.1 {port}")).await;
        until("the replica follows", async || {
            let info: String = self.run("INFO replication").await;
            // The primary counts it from its first acknowledgement on.
            info.contains("master_link_status:up") && primary.run::<i64>("WAIT 1 100").await == 1
        })
        .await;
    }

    /// The replica becomes a primary.
    pub(crate) async fn promote(&self) {
        self.run::<()>("REPLICAOF NO ONE").await;
    }

    pub(crate) fn freeze(&self) {
        self.signal("STOP");
    }

    pub(crate) fn thaw(&self) {
        self.signal("CONT");
    }

    pub(crate) fn kill(&mut self) {
        self.server.kill().expect("it runs");
    }

    pub(crate) fn restart(&mut self) {
        self.server.restart().expect("it starts");
    }

    fn signal(&self, name: &str) {
        signal(self.server.pid().expect("it runs"), name);
    }
}

async fn connection(url: &str) -> MultiplexedConnection {
    let client = Client::open(url).expect("a URL");
    // A server on a machine that is busy is slow.
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(LIMIT))
        .set_response_timeout(Some(LIMIT));
    let connection = client.get_multiplexed_async_connection_with_config(&config);
    connection.await.expect("connects")
}

/// Runs a command on a server, each word of it an argument.
pub(crate) async fn run<T: FromRedisValue>(url: &str, command: &str) -> T {
    let mut words = command.split(' ');
    let mut command = redis::cmd(words.next().expect("a name"));
    command.arg(words.collect::<Vec<_>>());
    query(url, &command).await
}

pub(crate) async fn query<T: FromRedisValue>(url: &str, command: &Cmd) -> T {
    let answer = command.query_async(&mut connection(url).await).await;
    answer.expect("an answer")
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("sh")
        .args(["-c", "kill -s \"$0\" \"$1\"", name, &pid.to_string()])
        .status();
    assert!(sent.expect("a shell").success());
}

/// Waits for a condition.
pub(crate) async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let limit = Instant::now() + LIMIT;
    while !condition().await {
        assert!(Instant::now() < limit, "not in time: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}
