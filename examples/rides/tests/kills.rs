//! Kills the service at each point of `create_ride`, starts it again on the same file, and repeats the request.

#![allow(clippy::unwrap_used)] // clippy takes helper functions for code outside tests

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, to_bytes};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use sqlx::{Connection as _, SqliteConnection};
use tempfile::TempDir;
use tokio::time::sleep;

/// Longer than a start, and longer than a lease.
const TIMEOUT: Duration = Duration::from_secs(20);

const SIGABRT: i32 = 6;

const RIDE: &str =
    r#"{"origin_lat":37.77,"origin_lon":-122.42,"target_lat":37.8,"target_lon":-122.27}"#;

/// A program of this package in a process of its own. Dropping it kills it.
struct Program {
    child: Child,
    url: String,
    output: PathBuf,
}

impl Program {
    async fn start(program: &str, output: PathBuf, arguments: &[&str]) -> Self {
        let file = File::create(&output).unwrap();
        let child = Command::new(program)
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stderr(file.try_clone().unwrap())
            .stdout(file)
            .spawn()
            .unwrap();
        let mut program = Self {
            child,
            url: String::new(),
            output,
        };
        program.url = program.printed("listening on ").await;
        program
    }

    /// The rest of the first line that begins with `prefix`.
    async fn printed(&self, prefix: &str) -> String {
        let until = Instant::now() + TIMEOUT;
        loop {
            let output = fs::read_to_string(&self.output).unwrap();
            let mut lines = output.split_inclusive('\n');
            let rest = lines.find_map(|line| line.strip_prefix(prefix)?.strip_suffix('\n'));
            if let Some(rest) = rest {
                return rest.to_owned();
            }
            assert!(Instant::now() < until, "no {prefix:?} in:\n{output}");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn died(mut self) -> ExitStatus {
        let until = Instant::now() + TIMEOUT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "the service lives");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("{}", fs::read_to_string(&self.output).unwrap_or_default());
        }
    }
}

/// A provider, and a folder for the database of services.
struct Site {
    provider: Program,
    folder: TempDir,
}

impl Site {
    async fn new(faults: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let program = env!("CARGO_BIN_EXE_provider");
        let provider = Program::start(program, folder.path().join("provider"), faults).await;
        Self { provider, folder }
    }

    fn database(&self) -> String {
        format!("sqlite:{}", self.folder.path().join("rides").display())
    }

    async fn service(&self, arguments: &[&str]) -> Program {
        let database = self.database();
        let mut all = vec![
            "--database-url",
            &database,
            "--provider",
            &self.provider.url,
        ];
        all.extend(arguments);
        let output = self.folder.path().join("service");
        Program::start(env!("CARGO_BIN_EXE_rides"), output, &all).await
    }

    async fn durable(&self) -> Durable {
        let mut connection = SqliteConnection::connect(&self.database()).await.unwrap();
        let sql = "SELECT (SELECT count(*) FROM rides), \
            (SELECT count(*) FROM audit_records JOIN rides ON rides.id = ride), \
            (SELECT count(*) FROM rides WHERE state = 'paid' AND charge IS NOT NULL), \
            (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'staged_jobs')";
        let row: (i64, i64, i64, i64) = sqlx::query_as(sql)
            .fetch_one(&mut connection)
            .await
            .unwrap();
        Durable {
            rides: row.0,
            audits: row.1,
            paid: row.2,
            staged: row.3,
        }
    }

    /// The requests for charges, and the charges.
    async fn counts(&self) -> (u64, u64) {
        let request = Request::get(format!("{}/counts", self.provider.url));
        let answer = send(request.body(Body::empty()).unwrap()).await.unwrap();
        let counts: Value = serde_json::from_slice(&answer.body).unwrap();
        let count = |name: &str| counts[name].as_u64().unwrap();
        (count("requests"), count("charges"))
    }
}

#[derive(Debug, PartialEq, Eq, Clone, Copy)]
struct Durable {
    rides: i64,
    audits: i64,
    paid: i64,
    /// All receipts that were ever staged.
    staged: i64,
}

const NOTHING: Durable = Durable {
    rides: 0,
    audits: 0,
    paid: 0,
    staged: 0,
};
const REQUESTED: Durable = Durable {
    rides: 1,
    audits: 1,
    ..NOTHING
};
const PAID: Durable = Durable {
    paid: 1,
    staged: 1,
    ..REQUESTED
};

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn is_replay(&self) -> bool {
        self.headers.contains_key("idempotency-replayed")
    }
}

async fn send(request: Request<Body>) -> Option<Answer> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let (head, body) = client.request(request).await.ok()?.into_parts();
    Some(Answer {
        status: head.status,
        headers: head.headers,
        body: to_bytes(Body::new(body), usize::MAX).await.ok()?,
    })
}

/// The answer to a ride of this user with this key, unless the service dies.
async fn ride(service: &Program, user: &str, key: &str) -> Option<Answer> {
    let request = Request::post(format!("{}/rides", service.url))
        .header(AUTHORIZATION, format!("Bearer {user}"))
        .header("idempotency-key", key)
        .header(CONTENT_TYPE, "application/json");
    send(request.body(Body::from(RIDE)).unwrap()).await
}

/// Repeats the request as a client does, until the answer is one to keep.
async fn settled(service: &Program, user: &str, key: &str) -> Answer {
    let until = Instant::now() + TIMEOUT;
    loop {
        let answer = ride(service, user, key).await.unwrap();
        match answer.status {
            StatusCode::CONFLICT | StatusCode::SERVICE_UNAVAILABLE => {}
            _ => return answer,
        }
        assert!(Instant::now() < until, "{answer:?}");
        sleep(Duration::from_millis(50)).await;
    }
}

async fn assert_replayed(service: &Program, user: &str, key: &str, first: &Answer) {
    let again = ride(service, user, key).await.unwrap();
    assert!(again.is_replay(), "{again:?}");
    assert_eq!(again.status, first.status);
    assert_eq!(again.body, first.body);
}

/// Lets the service die at a point where `before` is durable and the provider has had `asked` requests, and a retry
/// resume.
async fn killed(site: &Site, point: &str, before: Durable, asked: u64) -> Program {
    let dying = site.service(&["--die-at", point]).await;
    assert!(ride(&dying, "ann", "k").await.is_none(), "no death");
    assert_eq!(dying.died().await.signal(), Some(SIGABRT));
    assert_eq!(site.durable().await, before);
    assert_eq!(site.counts().await, (asked, asked));

    let service = site.service(&[]).await;
    let start = Instant::now();
    let first = settled(&service, "ann", "k").await;
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    assert!(!first.is_replay(), "{first:?}");
    assert_replayed(&service, "ann", "k", &first).await;
    let (requests, charges) = site.counts().await;
    println!(
        "{point}: resumed {:?} after the start; {requests} requests, {charges} charges",
        start.elapsed()
    );
    assert_eq!(site.durable().await, PAID);
    assert_eq!(service.printed("receipt for ride ").await, "1");
    service
}

/// As [`killed`], with a provider that keeps keys and has had `requests` at the end.
async fn resumes(point: &str, before: Durable, asked: u64, requests: u64) {
    let site = Site::new(&[]).await;
    killed(&site, point, before, asked).await;
    assert_eq!(site.counts().await, (requests, 1));
}

#[tokio::test]
async fn t1_t7_killed_before_the_first_step() {
    resumes("before-ride", NOTHING, 0, 1).await;
}

#[tokio::test]
async fn t2_t7_killed_after_a_commit() {
    resumes("after-ride", REQUESTED, 0, 1).await;
}

#[tokio::test]
async fn t3_killed_before_the_call_is_sent() {
    resumes("before-charge", REQUESTED, 0, 1).await;
}

#[tokio::test]
async fn t3_killed_before_the_result_of_the_call_is_recorded() {
    resumes("after-charge", REQUESTED, 1, 2).await;
}

#[tokio::test]
async fn t2_t3_t7_killed_in_a_commit_after_the_call() {
    resumes("before-paid", REQUESTED, 1, 1).await;
}

#[tokio::test]
async fn t6_t7_killed_before_the_response_is_recorded() {
    resumes("after-paid", PAID, 1, 1).await;
}

/// The limit of a call: it is one effect only where the other side keeps keys.
#[tokio::test]
async fn t3_provider_that_forgets_keys_charges_twice() {
    let site = Site::new(&["--forget"]).await;
    killed(&site, "after-charge", REQUESTED, 1).await;
    assert_eq!(site.counts().await, (2, 2));
}

#[tokio::test]
async fn t3_call_whose_answer_is_lost_is_made_again_with_its_key() {
    let site = Site::new(&["--lose-answers", "2"]).await;
    let service = site.service(&[]).await;
    let first = ride(&service, "ann", "a").await.unwrap();
    assert_eq!(first.status, StatusCode::CREATED, "{first:?}");
    let lost = ride(&service, "ann", "b").await.unwrap();
    assert_eq!(lost.status, StatusCode::SERVICE_UNAVAILABLE, "{lost:?}");
    assert_eq!(site.counts().await, (2, 2));
    // The failed attempt has given up its lease, so this one does not have to wait.
    let second = ride(&service, "ann", "b").await.unwrap();
    assert_eq!(second.status, StatusCode::CREATED, "{second:?}");
    assert_replayed(&service, "ann", "b", &second).await;
    assert_eq!(site.counts().await, (3, 2));
    let twice = Durable {
        rides: 2,
        audits: 2,
        paid: 2,
        staged: 2,
    };
    assert_eq!(site.durable().await, twice);
}

#[tokio::test]
async fn t6_declined_card_leaves_its_ride_and_is_replayed() {
    let site = Site::new(&[]).await;
    let service = site.service(&[]).await;
    let declined = ride(&service, "broke", "k").await.unwrap();
    assert_eq!(
        declined.status,
        StatusCode::PAYMENT_REQUIRED,
        "{declined:?}"
    );
    assert_replayed(&service, "broke", "k", &declined).await;
    assert_eq!(site.counts().await, (1, 0));
    assert_eq!(site.durable().await, REQUESTED);
    let mut connection = SqliteConnection::connect(&site.database()).await.unwrap();
    let state = sqlx::query_scalar("SELECT state FROM rides");
    let state: String = state.fetch_one(&mut connection).await.unwrap();
    assert_eq!(state, "declined");
}
