//! X34: a process is stopped by SIGSTOP in the middle of its attempts, past their leases. Another one takes over. Then the
//! process is continued.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRef, State};
use axum::http::{Request, StatusCode};
use axum::routing::post;
use futures_util::future::join_all;
use idem_axum::{Engine, StepError, StepStore, Steps, idempotent};
use idem_redis::Redis;
use redis::FromRedisValue;
use redis::aio::MultiplexedConnection;
use tokio::time::sleep;
use tower::ServiceExt as _;

use crate::place;
use crate::server::{signal, until};
use crate::service::Answer;

/// The variable with the prefix of a process that is going to be stopped.
const PREFIX: &str = "IDEM_TEST_STOPPED_PREFIX";

/// The attempts of a process.
const ATTEMPTS: usize = 40;

/// A process, and a provider that keeps keys, which all processes share.
#[derive(Clone)]
struct Process {
    engine: Engine<StepStore<Redis>>,
    provider: Provider,
}

#[derive(Clone)]
struct Provider {
    connection: MultiplexedConnection,
    prefix: String,
    /// The time of one call to it.
    delay: Duration,
}

impl FromRef<Process> for Engine<StepStore<Redis>> {
    fn from_ref(process: &Process) -> Self {
        process.engine.clone()
    }
}

impl FromRef<Process> for Provider {
    fn from_ref(process: &Process) -> Self {
        process.provider.clone()
    }
}

#[idempotent(ttl = "24h", unscoped, lease = "1s", deadline = "60s", wait = "0s", state = Process)]
async fn pay(
    steps: &mut Steps<Redis>,
    State(provider): State<Provider>,
) -> Result<(StatusCode, String), StepError> {
    let first: u64 = steps
        .call("first", async |key| provider.charge(&key).await)
        .await?;
    let second: u64 = steps
        .call("second", async |key| provider.charge(&key).await)
        .await?;
    Ok((StatusCode::CREATED, format!("{first} and {second}")))
}

impl Provider {
    /// Charges once for each key. Each answer has another number.
    async fn charge(&self, key: &str) -> Result<u64, StepError> {
        self.run::<()>(&format!("HINCRBY {}charges {key} 1", self.prefix))
            .await;
        sleep(self.delay).await;
        Ok(self.run(&format!("INCR {}numbers", self.prefix)).await)
    }

    async fn run<T: FromRedisValue>(&self, command: &str) -> T {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().expect("a name"));
        command.arg(words.collect::<Vec<_>>());
        let answer = command.query_async(&mut self.connection.clone()).await;
        answer.expect("an answer")
    }

    /// How many keys were charged.
    async fn charges(&self) -> usize {
        self.run(&format!("HLEN {}charges", self.prefix)).await
    }

    /// All that the keys of a store have.
    async fn rows(&self, prefix: &str) -> BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut rows = BTreeMap::new();
        for key in self.run::<Vec<String>>(&format!("KEYS {prefix}*")).await {
            let fields = self.run(&format!("HGETALL {key}")).await;
            rows.insert(key, fields);
        }
        rows
    }
}

impl Process {
    async fn new(prefix: &str) -> Self {
        Self {
            engine: Engine::new(place::patient_store(&place::url(), prefix).steps()),
            // A process does not see for how long it was stopped.
            provider: Provider {
                connection: place::connection().await,
                prefix: format!("provider-{prefix}"),
                delay: Duration::ZERO,
            },
        }
    }

    async fn pay(&self, key: usize) -> Answer {
        let router = Router::new().route("/pay", post(pay));
        let request = Request::post("/pay").header("idempotency-key", key.to_string());
        let request = request.body(Body::empty()).expect("a request");
        let Ok(response) = router.with_state(self.clone()).oneshot(request).await;
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.expect("a body");
        Answer {
            status: parts.status.as_u16(),
            is_replayed: parts.headers.contains_key("idempotency-replayed"),
            body: String::from_utf8(body.to_vec()).expect("text"),
        }
    }
}

/// Not a test: the process that is stopped. It prints its answers.
#[tokio::test]
#[ignore = "a process of x34_t5_processes_stopped_past_their_leases_write_nothing"]
async fn stopped_process() {
    let prefix = std::env::var(PREFIX).expect("the test sets it");
    let process = Process::new(&prefix).await;
    println!();
    join_all((0..ATTEMPTS).map(async |key| {
        let mut process = process.clone();
        // So that a stop finds each attempt at another place.
        process.provider.delay = Duration::from_millis(3 * key as u64);
        let answer = process.pay(key).await;
        let is_replayed = answer.is_replayed;
        println!(
            "answer {key} {} {is_replayed} {}",
            answer.status, answer.body
        );
    }))
    .await;
}

/// A process that runs [`stopped_process`], and its answers.
struct Stopped {
    child: Child,
    answers: Receiver<(usize, Answer)>,
}

impl Stopped {
    fn start(prefix: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args(["--exact", "processes::stopped_process"])
            .args(["--ignored", "--nocapture"])
            .env(PREFIX, prefix)
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let (sender, answers) = channel();
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                drop(parsed(&line).map(|answer| sender.send(answer)));
            }
        });
        Self { child, answers }
    }

    fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// All answers after those that were taken already.
    fn end(&mut self) -> Vec<(usize, Answer)> {
        assert!(self.child.wait().expect("it ends").success());
        self.answers.iter().collect()
    }
}

impl Drop for Stopped {
    /// A test that fails leaves no process that is stopped.
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn parsed(line: &str) -> Option<(usize, Answer)> {
    let mut words = line.strip_prefix("answer ")?.splitn(4, ' ');
    let mut word = || words.next();
    let key = word()?.parse().ok()?;
    let answer = Answer {
        status: word()?.parse().ok()?,
        is_replayed: word()?.parse().ok()?,
        body: word()?.to_owned(),
    };
    Some((key, answer))
}

#[tokio::test]
async fn x34_t5_processes_stopped_past_their_leases_write_nothing() {
    let (mut stopped, mut replays) = (0, 0);
    for round in 0..5 {
        let prefix = place::prefix();
        let other = Process::new(&prefix).await;
        let provider = &other.provider;
        let mut process = Stopped::start(&prefix);
        let charges = round * ATTEMPTS / 3 + 1;
        until("charges are made", async || {
            provider.charges().await >= charges
        })
        .await;
        process.signal("STOP");
        let before: Vec<_> = process.answers.try_iter().collect();

        let answers = (0..ATTEMPTS).map(async |key| {
            loop {
                let answer = other.pay(key).await;
                if answer.status == 201 {
                    return answer;
                }
                assert!(answer.is_problem("in-flight"), "{answer:?}");
                sleep(Duration::from_millis(50)).await;
            }
        });
        let answers = join_all(answers).await;
        let rows = provider.rows(&prefix).await;
        assert_eq!(rows.len(), ATTEMPTS);

        process.signal("CONT");
        let late = process.end();
        assert_eq!(provider.rows(&prefix).await, rows, "a late write");
        assert_eq!(before.len() + late.len(), ATTEMPTS);
        for (key, answer) in before.iter().chain(&late) {
            let is_same = answer.status == 201 && answer.body == answers[*key].body;
            let is_problem = ["in-flight", "try-again", "outcome-unknown", "unavailable"]
                .iter()
                .any(|name| answer.is_problem(name));
            assert!(is_same || is_problem, "{answer:?}, and {:?}", answers[*key]);
            replays += usize::from(is_same && answer.is_replayed);
        }
        let charges = provider.charges().await;
        assert_eq!(charges, 2 * ATTEMPTS, "T3: each call has one key");
        stopped += late.len();
    }
    println!("{stopped} attempts were stopped, and {replays} were answered with a replay");
    assert!(stopped >= 100, "{stopped}");
}
