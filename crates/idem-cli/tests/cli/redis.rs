//! The commands on a Redis server, and on a cluster.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Request, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::future::join_all;
use idem_axum::{Engine, Recovered, Scope, StepError, StepStore, Steps, idempotent};
use idem_redis::redis::cluster::ClusterClient;
use idem_redis::redis::{Client, FromRedisValue, cmd};
use idem_redis::{Redis, RedisStore};
use serde_json::json;
use tokio::sync::Semaphore;
use tower::ServiceExt as _;
use xtask::server::{REDIS, Server, free_port};

use crate::program::{Run, idem};

const SMS: [&str; 6] = ["--scope", "acme", "--operation", "POST /sms", "--key", "k1"];

/// A service, and the place of its records.
struct Service {
    app: App,
    url: String,
    prefix: String,
}

impl Service {
    /// On the server that all tests share.
    async fn start() -> Self {
        let url = std::env::var("IDEM_TEST_REDIS_URL").expect("`cargo xtask test` sets it");
        let store = RedisStore::connect(&url).await.expect("connects");
        Self::of(store, url)
    }

    fn of(store: RedisStore, url: String) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let started = std::time::UNIX_EPOCH.elapsed().expect("a time").as_nanos();
        let prefix = format!("cli-{started}-{count}:");
        let app = App {
            engine: Engine::new(store.with_prefix(&prefix).steps()),
            carrier: Arc::new(Carrier {
                waiting: AtomicU32::new(0),
                gate: Semaphore::new(0),
            }),
        };
        Self { app, url, prefix }
    }

    /// Sends a message, which the carrier takes or not.
    async fn send(&self, tenant: &str, key: &str, fate: &str) -> u16 {
        let router = Router::new().route("/sms", post(sms));
        let request = Request::post("/sms")
            .header("x-tenant", tenant)
            .header("x-fate", fate)
            .header("idempotency-key", key)
            .body(Body::empty());
        let router = router.with_state(self.app.clone());
        let Ok(response) = router.oneshot(request.expect("a request")).await;
        response.status().as_u16()
    }

    async fn run(&self, command: &str, arguments: &[&str]) -> Run {
        let place = ["--key-prefix", &self.prefix];
        idem(&self.url, &[&[command], arguments, &place].concat()).await
    }

    async fn unfinished(&self) -> usize {
        let runs = self.run("runs", &["--json"]).await.exits(0).json();
        runs["result"]["runs"].as_array().map_or(0, Vec::len)
    }

    /// Keys expire with the test only if they are deleted.
    async fn end(self) {
        for tenant in ["acme", "globex"] {
            self.app.engine.erase(Some(tenant)).await.expect("erases");
        }
    }
}

#[derive(Clone)]
struct App {
    engine: Engine<StepStore<Redis>>,
    carrier: Arc<Carrier>,
}

/// Has calls wait for a permit, if they ask for it.
#[derive(Debug)]
struct Carrier {
    waiting: AtomicU32,
    gate: Semaphore,
}

impl FromRef<App> for Engine<StepStore<Redis>> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

impl FromRef<App> for Arc<Carrier> {
    fn from_ref(app: &App) -> Self {
        Arc::clone(&app.carrier)
    }
}

#[idempotent(ttl = "24h", scope = "tenant", lease = "5s", deadline = "20s", wait = "0s", state = App)]
async fn sms(
    steps: &mut Steps<Redis>,
    tenant: Tenant,
    headers: HeaderMap,
    State(carrier): State<Arc<Carrier>>,
) -> Result<(StatusCode, String), SmsError> {
    let sent: String = steps
        .call_once(
            "sms",
            async |_| match fate(&headers) {
                b"silent" => Err(SmsError::NoAnswer),
                b"held" => {
                    carrier.waiting.fetch_add(1, Ordering::Relaxed);
                    carrier.gate.acquire().await.expect("open").forget();
                    Ok("SM1".to_owned())
                }
                _ => Ok("SM1".to_owned()),
            },
            async |_| Ok(Recovered::Unknown),
        )
        .await?;
    Ok((StatusCode::CREATED, sent))
}

fn fate(headers: &HeaderMap) -> &[u8] {
    headers.get("x-fate").map_or(b"", |fate| fate.as_bytes())
}

struct Tenant(String);

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        let header = parts.headers.get("x-tenant");
        let tenant = header.and_then(|value| value.to_str().ok());
        let tenant = tenant.map(|tenant| Self(tenant.to_owned()));
        tenant.ok_or(StatusCode::UNAUTHORIZED)
    }
}

impl Scope for Tenant {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

enum SmsError {
    Step(StepError),
    NoAnswer,
}

impl From<StepError> for SmsError {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

impl IntoResponse for SmsError {
    fn into_response(self) -> Response {
        match self {
            Self::Step(error) => error.into_response(),
            Self::NoAnswer => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        }
    }
}

#[tokio::test]
async fn e4_e6_e7_records_are_counted_shown_found_and_deleted() {
    let service = Service::start().await;
    let checked = service.run("check", &["--json"]).await.exits(0).json();
    assert_eq!(checked["result"], json!({ "database": "redis" }));
    for (tenant, key) in [("acme", "k1"), ("acme", "k2"), ("globex", "k1")] {
        assert_eq!(service.send(tenant, key, "taken").await, 201);
    }
    let shown = service.run("show", &SMS).await.exits(0);
    let expected = "\
operation  POST /sms
scope      acme
key        k1
state      succeeded: the writes are kept, a retry is answered with this response
status     201 Created
attempts   1
settled    TIME (AGE)
expires    TIME (AGE)

content-type: text/plain; charset=utf-8

SM1
";
    assert_eq!(shown.text(), expected);
    let find = ["--scope", "acme", "--key", "k1", "--json"];
    let found = service.run("find", &find).await.exits(0).json();
    assert_eq!(found["result"]["records"][0]["operation"], "POST /sms");
    let stats = service.run("stats", &["--json"]).await.exits(0).json();
    let tally = &stats["result"]["operations"][0];
    assert_eq!(
        [&tally["records"], &tally["attempts"], &tally["expired"]],
        [3, 3, 0]
    );
    let stats = ["--scope", "acme", "--json"];
    let stats = service.run("stats", &stats).await.exits(0).json();
    assert_eq!(stats["result"]["records"], 2);

    for arguments in [&[][..], &["--dry-run"]] {
        let purged = service.run("purge", arguments).await.exits(0);
        let says = "nothing to purge: the server deletes what has expired\n";
        assert_eq!(purged.raw(), says);
    }
    let migrated = service.run("migrate", &[]).await.exits(2);
    assert!(migrated.err.contains("no tables"), "{}", migrated.err);

    let with = |consent| [&SMS[..], &[consent]].concat();
    let dry = service.run("forget", &with("--dry-run")).await.exits(0);
    assert!(
        dry.raw().starts_with("1 record would be deleted"),
        "{}",
        dry.raw()
    );
    service.run("forget", &with("--yes")).await.exits(0);
    service.run("forget", &with("--yes")).await.exits(1);
    let erase = ["--scope", "acme", "--dry-run"];
    let dry = service.run("erase", &erase).await.exits(0);
    assert_eq!(dry.raw(), "1 record would be deleted\n");
    let erase = ["--scope", "acme", "--yes"];
    let erased = service.run("erase", &erase).await.exits(0);
    assert_eq!(erased.raw(), "1 record deleted\n");
    let left = service.run("stats", &["--json"]).await.exits(0).json();
    assert_eq!(left["result"]["records"], 1);
    service.end().await;
}

#[tokio::test]
async fn t4_t5_t10_runs_are_listed_resolved_and_left_alone() {
    let service = Service::start().await;
    let none = service.run("runs", &[]).await.exits(0);
    assert_eq!(none.raw(), "no unfinished runs\n");
    assert_eq!(service.send("acme", "k1", "silent").await, 503);
    assert_eq!(service.send("acme", "k1", "taken").await, 409);
    let shown = service.run("run", &SMS).await.exits(0);
    let says = "sms   call_once  uncertain  TIME\n";
    assert!(shown.text().ends_with(says), "{}", shown.text());
    let listed = service.run("runs", &["--json"]).await.exits(0).json();
    assert_eq!(listed["result"]["runs"][0]["state"], "uncertain");
    let show = service.run("show", &SMS).await.exits(1);
    assert!(show.err.contains("an unfinished run"), "{}", show.err);
    let found = [&SMS[..], &["--step", "sms", "--found", "\"SM2\"", "--yes"]].concat();
    let resolved = service.run("resolve", &found).await.exits(0);
    let says = "the step `sms` is resolved: the next attempt takes this result\n";
    assert_eq!(resolved.raw(), says);
    assert_eq!(service.send("acme", "k1", "silent").await, 201);
    let body = [&SMS[..], &["--body", "-"]].concat();
    assert_eq!(service.run("show", &body).await.exits(0).raw(), "SM2");
    let over = service.run("resolve", &found).await.exits(1);
    assert!(over.err.contains("it has a record"), "{}", over.err);

    let held = async { assert_eq!(service.send("globex", "k1", "held").await, 201) };
    let looks = async {
        let limit = Instant::now() + Duration::from_secs(20);
        while service.app.carrier.waiting.load(Ordering::Relaxed) == 0 {
            assert!(Instant::now() < limit, "no call is made");
            tokio::task::yield_now().await;
        }
        let identity = [&["--scope", "globex"], &SMS[2..]].concat();
        let resolve = [&identity[..], &["--step", "sms", "--absent", "--yes"]].concat();
        let busy = service.run("resolve", &resolve).await.exits(4);
        assert!(busy.err.contains("in flight"), "{}", busy.err);
        let forget = [&identity[..], &["--yes"]].concat();
        service.run("forget", &forget).await.exits(4);
        service.app.carrier.gate.add_permits(1);
    };
    tokio::join!(held, looks);
    assert_eq!(service.send("acme", "k2", "silent").await, 503);
    assert_eq!(service.unfinished().await, 1);
    let erase = ["--scope", "acme", "--yes"];
    let erased = service.run("erase", &erase).await.exits(0);
    assert_eq!(erased.raw(), "2 records deleted\n");
    assert_eq!(service.unfinished().await, 0);
    service.end().await;
}

/// The URL names one node, and each command sees the keys of both.
#[tokio::test]
async fn e4_a_cluster_is_known_by_one_of_its_nodes() {
    let nodes = cluster().await;
    let client = ClusterClient::new(nodes.iter().map(|node| node.url().to_owned()));
    let store = RedisStore::new_cluster(client.expect("a client"));
    let service = Service::of(store, nodes[0].url().to_owned());
    let keys: Vec<String> = (0..30).map(|key| key.to_string()).collect();
    let sent = join_all(keys.iter().map(|key| service.send("acme", key, "taken"))).await;
    assert!(sent.iter().all(|status| *status == 201), "{sent:?}");
    for node in &nodes {
        let size: u32 = ask(node, "DBSIZE").await;
        assert!(size > 0 && size < 30, "{size}");
    }
    let checked = service.run("check", &[]).await.exits(0);
    assert!(checked.raw().starts_with("no fault found"));
    let stats = service.run("stats", &["--json"]).await.exits(0).json();
    assert_eq!(stats["result"]["records"], 30);
    for key in ["1", "2", "3"] {
        let find = ["--scope", "acme", "--key", key];
        service.run("find", &find).await.exits(0);
    }
    let erase = ["--scope", "acme", "--yes"];
    let lacking = [&erase[..], &["--replicas", "1"]].concat();
    let lacking = service.run("erase", &lacking).await.exits(3);
    assert!(
        lacking.err.contains("0 of 1 replicas have acknowledged"),
        "{}",
        lacking.err
    );
    service.run("erase", &erase).await.exits(0);
    for node in &nodes {
        assert_eq!(ask::<u32>(node, "DBSIZE").await, 0);
    }
}

async fn cluster() -> Vec<Server> {
    let buses = [(); 2].map(|()| free_port().expect("a free port").to_string());
    let node = |bus: &String| {
        let arguments = ["--cluster-enabled", "yes", "--cluster-port", bus];
        Server::start_with(&REDIS, arguments.map(str::to_owned).into()).expect("a node")
    };
    let nodes: Vec<Server> = buses.iter().map(node).collect();
    for ((node, slots), epoch) in nodes.iter().zip(["0 8191", "8192 16383"]).zip(1..) {
        ask::<()>(node, &format!("CLUSTER ADDSLOTSRANGE {slots}")).await;
        ask::<()>(node, &format!("CLUSTER SET-CONFIG-EPOCH {epoch}")).await;
    }
    let port = nodes[0].url().trim_end_matches('/').rsplit(':').next();
    let port = port.expect("a port");
    let meet = format!("CLUSTER MEET 127.0.0.1 {port} {}", buses[0]);
    ask::<()>(&nodes[1], &meet).await;
    let limit = Instant::now() + Duration::from_secs(20);
    for node in &nodes {
        loop {
            let info: String = ask(node, "CLUSTER INFO").await;
            if info.contains("cluster_state:ok") && info.contains("cluster_known_nodes:2") {
                break;
            }
            assert!(Instant::now() < limit, "{info}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    nodes
}

async fn ask<T: FromRedisValue>(node: &Server, command: &str) -> T {
    let client = Client::open(node.url()).expect("a URL");
    let mut connection = client
        .get_multiplexed_async_connection()
        .await
        .expect("connects");
    let mut words = command.split(' ');
    let mut command = cmd(words.next().expect("a name"));
    command.arg(words.collect::<Vec<_>>());
    command
        .query_async(&mut connection)
        .await
        .expect("an answer")
}
