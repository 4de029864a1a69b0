//! Rides that are paid at another service: `cargo run -p rides`.
//!
//! This is the service of Brandur Leach's article on idempotency keys, Rocket Rides. A ride is written, a payment provider
//! is asked to charge for it, and a receipt is sent. No transaction can stay open for the provider's answer, so
//! `create_ride` takes `&mut Steps<_>`: each step is recorded in a commit of its own, and a retry resumes after the
//! last one.
//!
//! Inside the database each step happens once: one ride, one audit record and one receipt in the outbox, wherever the
//! process dies. Outside of it nothing is exactly once. The provider is asked **at least** once, always with the same key:
//! it is one charge only because the provider keeps keys. The receipt is delivered at least once, too.
//!
//! `cargo test -p rides` kills the service at each point of `create_ride`, and lets a retry resume. By hand:
//!
//! ```text
//! cargo run -p rides --bin provider
//! cargo run -p rides -- --provider http://127.0.0.1:3001 --die-at after-charge
//! ```

mod client;

use std::borrow::Cow;
use std::future::IntoFuture as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr as _;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use idem_axum::{Engine, Scope, SqliteStore, StepError, StepStore, Steps, idempotent};
use lexopt::{
    Arg::{Long, Short},
    ValueExt as _,
};
use provider::{Charge, Faults, NewCharge};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{FromRow, Row as _, SqliteConnection, SqlitePool};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::client::ProviderClient;

/// In minor units, wherever the ride goes.
const FARE: i64 = 2000;

/// After the process has died, the key is held until the `lease` is over. A retry waits for that, and gets 409 if the wait
/// takes too long.
#[idempotent(ttl = "24h", scope = "user", lease = "2s", deadline = "20s")]
async fn create_ride(
    steps: &mut Steps<SqliteConnection>,
    user: User,
    State(provider): State<ProviderClient>,
    Json(new): Json<NewRide>,
) -> Result<(StatusCode, Json<Ride>), RideError> {
    new.check()?;
    point("before-ride");
    // Its rows, its result and the proof that the key is still ours are one commit.
    let ride = steps
        .commit("ride", async |tx| insert(tx, &user.0, &new).await)
        .await?;
    point("after-ride");
    // At least once, always with this key. Each later attempt gets the recorded result.
    let charge = steps
        .call("charge", async |key| {
            point("before-charge");
            let charge = charge(&provider, &key, &ride).await;
            point("after-charge");
            charge
        })
        .await?;
    // The step returns a declined card as a value: an error of a step is not recorded, and a retry would ask again.
    if charge.is_declined {
        steps
            .commit("declined", async |tx| decline(tx, &ride).await)
            .await?;
        // No `Settle::Commit` is needed: what steps have committed stays, and a plain 402 is replayed.
        return Err(RideError::Refused(
            StatusCode::PAYMENT_REQUIRED,
            "the card was declined",
        ));
    }
    let ride = steps
        .commit("paid", async |tx| {
            let ride = pay(tx, &ride, &charge).await;
            point("before-paid");
            ride
        })
        .await?;
    point("after-paid");
    Ok((StatusCode::CREATED, Json(ride)))
}

async fn rides(user: User, State(app): State<App>) -> Result<Json<Vec<Ride>>, RideError> {
    let rides = sqlx::query_as("SELECT * FROM rides WHERE user = $1 ORDER BY id");
    Ok(Json(rides.bind(user.0).fetch_all(&app.pool).await?))
}

/// The state of the router. The attribute finds the engine in it, by `FromRef`.
#[derive(Clone)]
struct App {
    engine: Engine<StepStore<SqliteConnection>>,
    pool: SqlitePool,
    provider: ProviderClient,
}

impl FromRef<App> for Engine<StepStore<SqliteConnection>> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

impl FromRef<App> for ProviderClient {
    fn from_ref(app: &App) -> Self {
        app.provider.clone()
    }
}

/// The owner of rides and keys: here the bearer token itself, in `examples/payments-auth` that of a verified token.
struct User(String);

impl<S: Sync> FromRequestParts<S> for User {
    type Rejection = RideError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, RideError> {
        let header = parts.headers.get(AUTHORIZATION);
        let token = header
            .and_then(|value| value.to_str().ok()?.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty());
        let user = token.map(|token| Self(token.to_owned()));
        user.ok_or(RideError::Refused(
            StatusCode::UNAUTHORIZED,
            "send `Authorization: Bearer USER`",
        ))
    }
}

impl Scope for User {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

/// The body of a request. `Serialize` binds it to the key: the same key with another body is refused.
#[derive(Serialize, Deserialize)]
struct NewRide {
    origin_lat: f64,
    origin_lon: f64,
    target_lat: f64,
    target_lon: f64,
}

impl NewRide {
    fn check(&self) -> Result<(), RideError> {
        let is_on_earth = [self.origin_lat, self.target_lat]
            .iter()
            .all(|latitude| latitude.abs() <= 90.0)
            && [self.origin_lon, self.target_lon]
                .iter()
                .all(|longitude| longitude.abs() <= 180.0);
        is_on_earth.then_some(()).ok_or(RideError::Refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            "a latitude is within 90 degrees, a longitude within 180",
        ))
    }
}

/// `Deserialize` too, as it is the result of a step.
#[derive(Serialize, Deserialize)]
struct Ride {
    id: i64,
    user: String,
    fare: i64,
    /// `requested`, and then `paid` or `declined`. Others see a ride between two steps.
    state: String,
    /// The provider's number of the charge.
    charge: Option<String>,
}

// sqlx's derive would write this, and would take longer to build.
impl FromRow<'_, SqliteRow> for Ride {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            user: row.try_get("user")?,
            fare: row.try_get("fare")?,
            state: row.try_get("state")?,
            charge: row.try_get("charge")?,
        })
    }
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS rides (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        user       TEXT    NOT NULL,
        origin_lat REAL    NOT NULL,
        origin_lon REAL    NOT NULL,
        target_lat REAL    NOT NULL,
        target_lon REAL    NOT NULL,
        fare       INTEGER NOT NULL,
        state      TEXT    NOT NULL DEFAULT 'requested',
        charge     TEXT
    ) STRICT;
    CREATE TABLE IF NOT EXISTS audit_records (
        id     INTEGER PRIMARY KEY AUTOINCREMENT,
        user   TEXT    NOT NULL,
        action TEXT    NOT NULL,
        ride   INTEGER NOT NULL REFERENCES rides,
        at     TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    ) STRICT;
    CREATE TABLE IF NOT EXISTS staged_jobs (
        id   INTEGER PRIMARY KEY AUTOINCREMENT,
        ride INTEGER NOT NULL REFERENCES rides
    ) STRICT;
";

async fn insert(tx: &mut SqliteConnection, user: &str, new: &NewRide) -> Result<Ride, RideError> {
    let ride = sqlx::query_as(
        "INSERT INTO rides (user, origin_lat, origin_lon, target_lat, target_lon, fare) \
         VALUES ($1, $2, $3, $4, $5, $6) RETURNING *",
    );
    let ride = ride
        .bind(user)
        .bind(new.origin_lat)
        .bind(new.origin_lon)
        .bind(new.target_lat)
        .bind(new.target_lon)
        .bind(FARE);
    let ride: Ride = ride.fetch_one(&mut *tx).await?;
    let audit = "INSERT INTO audit_records (user, action, ride) VALUES ($1, 'create ride', $2)";
    let audit = sqlx::query(audit).bind(user).bind(ride.id);
    audit.execute(tx).await?;
    Ok(ride)
}

async fn charge(provider: &ProviderClient, key: &str, ride: &Ride) -> Result<Charge, RideError> {
    let new = NewCharge {
        customer: ride.user.clone(),
        amount: ride.fare,
    };
    provider.charge(key, &new).await.map_err(|error| {
        tracing::warn!(error = %format!("{error:#}"), "the charge is not confirmed");
        RideError::Refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "the payment is not confirmed; send the same request with the same key again",
        )
    })
}

/// The receipt is staged in the commit that marks the ride as paid, and delivered later.
async fn pay(tx: &mut SqliteConnection, ride: &Ride, charge: &Charge) -> Result<Ride, RideError> {
    let paid = "UPDATE rides SET state = 'paid', charge = $1 WHERE id = $2 RETURNING *";
    let paid = sqlx::query_as(paid).bind(&charge.id).bind(ride.id);
    let paid: Ride = paid.fetch_one(&mut *tx).await?;
    let receipt = sqlx::query("INSERT INTO staged_jobs (ride) VALUES ($1)");
    receipt.bind(ride.id).execute(tx).await?;
    Ok(paid)
}

async fn decline(tx: &mut SqliteConnection, ride: &Ride) -> Result<(), RideError> {
    let declined = sqlx::query("UPDATE rides SET state = 'declined' WHERE id = $1");
    declined.bind(ride.id).execute(tx).await?;
    Ok(())
}

/// Delivers the receipts, each at least once.
async fn deliver(pool: SqlitePool) {
    loop {
        match deliver_next(&pool).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "no receipt could be delivered"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// A crash after the delivery and before the commit delivers a receipt again.
async fn deliver_next(pool: &SqlitePool) -> sqlx::Result<bool> {
    let mut tx = pool.begin().await?;
    let next =
        "DELETE FROM staged_jobs WHERE id = (SELECT min(id) FROM staged_jobs) RETURNING ride";
    let next: Option<i64> = sqlx::query_scalar(next).fetch_optional(&mut *tx).await?;
    if let Some(ride) = next {
        // Here a mail would be sent.
        println!("receipt for ride {ride}");
    }
    tx.commit().await?;
    Ok(next.is_some())
}

/// A step's own error is passed on; the request is then answered with that error's problem. Otherwise the status decides:
/// a 402 or 422 is kept as the answer to the key; after a 500 or 503 a retry resumes.
enum RideError {
    Step(StepError),
    Refused(StatusCode, &'static str),
}

impl From<StepError> for RideError {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

impl From<sqlx::Error> for RideError {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "the database failed");
        Self::Refused(
            StatusCode::INTERNAL_SERVER_ERROR,
            "send the same request with the same key again",
        )
    }
}

impl IntoResponse for RideError {
    fn into_response(self) -> Response {
        let (status, detail) = match self {
            Self::Step(error) => return error.into_response(),
            Self::Refused(status, detail) => (status, detail),
        };
        let problem = Problem {
            title: status.canonical_reason(),
            status: status.as_u16(),
            detail,
        };
        let content_type = [(CONTENT_TYPE, "application/problem+json")];
        let response = (status, content_type, Json(problem)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            return ([(WWW_AUTHENTICATE, "Bearer")], response).into_response();
        }
        response
    }
}

/// RFC 9457.
#[derive(Serialize)]
struct Problem {
    title: Option<&'static str>,
    status: u16,
    detail: &'static str,
}

/// Where `--die-at` can kill the process.
const POINTS: [&str; 6] = [
    "before-ride",
    "after-ride",
    "before-charge",
    "after-charge",
    "before-paid",
    "after-paid",
];

static DIE_AT: OnceLock<String> = OnceLock::new();

/// Kills the process if `--die-at` names this point.
fn point(name: &str) {
    if DIE_AT.get().is_some_and(|at| at == name) {
        std::process::abort();
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::read().unwrap_or_else(|error| {
        eprintln!("{error}\n\n{}", Flags::HELP);
        std::process::exit(2);
    });
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::INFO) // the level of idem's one line for each request
        .with_writer(std::io::stderr)
        .init();

    let options = SqliteConnectOptions::from_str(&flags.database_url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePool::connect_with(options)
        .await
        .with_context(|| format!("can't open {}", flags.database_url))?;
    sqlx::raw_sql(SCHEMA).execute(&pool).await?;
    let store = StepStore::new(SqliteStore::new(pool.clone()));
    store.migrate().await?;
    let engine = Engine::new(store);
    let _purge = engine.spawn_purge(Duration::from_mins(1));
    tokio::spawn(deliver(pool.clone()));

    let provider = match flags.provider {
        Some(url) => url,
        None => start_provider().await?,
    };
    let app = App {
        engine: engine.clone(),
        pool: pool.clone(),
        provider: ProviderClient::new(provider.clone()),
    };
    let listener = TcpListener::bind(flags.listen)
        .await
        .with_context(|| format!("can't listen on {}", flags.listen))?;
    let address = listener.local_addr()?;
    let introduction = introduction(address, &provider)?;
    let shutdown = shutdown()?;
    println!("listening on http://{address}\n\n{introduction}");
    let router = Router::new()
        .route("/", get(introduction))
        .route("/rides", get(rides).post(create_ride))
        .with_state(app);
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await?;
    // An attempt goes on when its client has gone.
    engine.drain().await;
    pool.close().await;
    Ok(())
}

/// To try the service out. This provider dies with the service, and its keys too: start one in a process of its own to
/// see more.
async fn start_provider() -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(axum::serve(listener, provider::router(Faults::default())).into_future());
    Ok(format!("http://{address}"))
}

/// Completes at Ctrl-C, and at SIGTERM: that is how systemd, Docker and Kubernetes end a service.
fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

struct Flags {
    listen: SocketAddr,
    database_url: String,
    provider: Option<String>,
}

impl Flags {
    const HELP: &str = "\
--listen ADDRESS      where to listen; port 0 takes a free one [127.0.0.1:3000]
--database-url URL    the database, which is created if it is missing [sqlite:rides.sqlite]
--provider URL        the payment provider [one inside this process]
--die-at POINT        abort the process where `create_ride` reaches this point:
    before-ride       nothing is written yet, but the key is held
    after-ride        the ride is committed
    before-charge     the provider is not asked yet
    after-charge      the provider has charged, and its answer is not recorded
    before-paid       the ride is marked as paid, and that is not committed
    after-paid        that is committed, and the response is not recorded";

    fn read() -> Result<Self, lexopt::Error> {
        let mut flags = Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            database_url: "sqlite:rides.sqlite".to_owned(),
            provider: None,
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("listen") => flags.listen = arguments.value()?.parse()?,
                Long("database-url") => flags.database_url = arguments.value()?.string()?,
                Long("provider") => flags.provider = Some(arguments.value()?.string()?),
                Long("die-at") => {
                    let at = arguments.value()?.string()?;
                    if !POINTS.contains(&at.as_str()) {
                        return Err(format!("there is no point {at}").into());
                    }
                    DIE_AT.get_or_init(|| at);
                }
                Long("help") | Short('h') => {
                    println!("{}", Self::HELP);
                    std::process::exit(0);
                }
                _ => return Err(argument.unexpected()),
            }
        }
        Ok(flags)
    }
}

/// Commands to try, and their answers. The keys are new at every start, so that each start pays.
fn introduction(address: SocketAddr, provider: &str) -> anyhow::Result<String> {
    let key = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let ride = |user, target_lon| {
        format!(
            "curl -iw '\\n' http://{address}/rides -H 'Authorization: Bearer {user}' \
             -H 'Idempotency-Key: demo-{key}' \\\n     \
             -H 'Content-Type: application/json' \\\n     \
             -d '{{\"origin_lat\":37.77,\"origin_lon\":-122.42,\"target_lat\":37.8,\"target_lon\":{target_lon}}}'"
        )
    };
    let first = ride("ann", "-122.27");
    let other = ride("ann", "-122.28");
    let broke = ride("broke", "-122.27");
    Ok(format!(
        "\
# A first request takes a ride and pays for it.
{first}
#> HTTP/1.1 201 Created

# The same request again gets the same answer. The provider is not asked again.
{first}
#> HTTP/1.1 201 Created
#> idempotency-replayed: true

# The same key with another target is refused.
{other}
#> HTTP/1.1 422 Unprocessable Entity

# A declined card leaves a ride that is marked as declined.
{broke}
#> HTTP/1.1 402 Payment Required

curl -iw '\\n' http://{address}/rides -H 'Authorization: Bearer ann'
#> HTTP/1.1 200 OK

# How often the provider was asked, and how often it charged.
curl -iw '\\n' {provider}/counts
#> HTTP/1.1 200 OK

# docs/contract.md has the rules of steps (T1 to T14), docs/choosing.md says when to take them.
# `--die-at after-charge` kills the service there; start it again and repeat the request.
# Ctrl-C ends the service. The log has a line for each ride, with its outcome:
"
    ))
}
