//! Payments on axum and an embedded SQLite file: `cargo run --bin payments`.
//!
//! A payment moves money between two accounts of a tenant. `#[idempotent]` on `create_payment` lets it happen once
//! for each `Idempotency-Key`, however often the request is sent.

mod page;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use axum::extract::{FromRef, FromRequestParts, Path, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use idem_axum::{Engine, Scope, SqliteStore, idempotent};
use lexopt::{
    Arg::{Long, Short},
    ValueExt as _,
};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{FromRow, Row as _, SqliteConnection, SqlitePool};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use page::Work;

/// `tx` is the transaction of the payment, of the key's record and of the recorded response. The attribute opens it
/// before this function and commits it after.
#[idempotent(ttl = "24h", scope = "tenant")]
async fn create_payment(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    Work(work): Work,
    Json(payment): Json<NewPayment>,
) -> Result<(StatusCode, [(HeaderName, String); 1], Json<Payment>), Refusal> {
    let payment = pay(tx, &tenant.0, &payment).await?;
    tokio::time::sleep(work).await;
    let location = [(LOCATION, format!("/payments/{}", payment.id))];
    Ok((StatusCode::CREATED, location, Json(payment)))
}

async fn payments(tenant: Tenant, State(app): State<App>) -> Result<Json<Vec<Payment>>, Refusal> {
    let payments = sqlx::query_as("SELECT * FROM payments WHERE tenant = $1 ORDER BY id");
    Ok(Json(payments.bind(tenant.0).fetch_all(&app.pool).await?))
}

async fn payment(
    tenant: Tenant,
    State(app): State<App>,
    Path(id): Path<i64>,
) -> Result<Json<Payment>, Refusal> {
    let payment = sqlx::query_as("SELECT * FROM payments WHERE tenant = $1 AND id = $2");
    let payment = payment.bind(tenant.0).bind(id).fetch_optional(&app.pool);
    let unknown = Refusal(StatusCode::NOT_FOUND, "there is no such payment");
    payment.await?.map(Json).ok_or(unknown)
}

async fn accounts(tenant: Tenant, State(app): State<App>) -> Result<Json<Vec<Account>>, Refusal> {
    let accounts = sqlx::query_as("SELECT * FROM accounts WHERE tenant = $1 ORDER BY name");
    Ok(Json(accounts.bind(tenant.0).fetch_all(&app.pool).await?))
}

/// The state of the router. The attribute finds the engine in it, by `FromRef`.
#[derive(Clone)]
struct App {
    engine: Engine<SqliteStore>,
    pool: SqlitePool,
    /// Pretended work inside the transaction.
    work: Duration,
}

impl FromRef<App> for Engine<SqliteStore> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

/// The owner of accounts and keys: here the bearer token itself, in `examples/payments-auth` that of a verified token.
struct Tenant(String);

impl<S: Sync> FromRequestParts<S> for Tenant {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let header = parts.headers.get(AUTHORIZATION);
        let token = header
            .and_then(|value| value.to_str().ok()?.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty());
        let tenant = token.map(|token| Self(token.to_owned()));
        tenant.ok_or(Refusal(
            StatusCode::UNAUTHORIZED,
            "send `Authorization: Bearer TENANT`",
        ))
    }
}

/// Two tenants may use the same key; each has its own records.
impl Scope for Tenant {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

/// The body of a request. `Serialize` binds it to the key: the same key with another body is refused.
#[derive(Serialize, Deserialize)]
struct NewPayment {
    from: String,
    to: String,
    /// In minor units.
    amount: i64,
}

#[derive(Serialize)]
struct Payment {
    id: i64,
    from: String,
    to: String,
    amount: i64,
    created_at: String,
}

#[derive(Serialize)]
struct Account {
    name: String,
    balance: i64,
}

// sqlx's derive would write these two, and would take longer to build.
impl FromRow<'_, SqliteRow> for Payment {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            from: row.try_get("debtor")?,
            to: row.try_get("creditor")?,
            amount: row.try_get("amount")?,
            created_at: row.try_get("created_at")?,
        })
    }
}

impl FromRow<'_, SqliteRow> for Account {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            name: row.try_get("name")?,
            balance: row.try_get("balance")?,
        })
    }
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS accounts (
        tenant  TEXT    NOT NULL,
        name    TEXT    NOT NULL,
        balance INTEGER NOT NULL CHECK (balance >= 0),
        PRIMARY KEY (tenant, name)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS payments (
        id         INTEGER PRIMARY KEY AUTOINCREMENT,
        tenant     TEXT    NOT NULL,
        debtor     TEXT    NOT NULL,
        creditor   TEXT    NOT NULL,
        amount     INTEGER NOT NULL,
        created_at TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
    ) STRICT;
";

/// An ordinary function on a connection. It knows nothing of keys and retries, and a test can call it.
async fn pay(
    tx: &mut SqliteConnection,
    tenant: &str,
    payment: &NewPayment,
) -> Result<Payment, Refusal> {
    const MOVE: &str = "UPDATE accounts SET balance = balance + $1 \
        WHERE tenant = $2 AND name = $3 AND balance + $1 >= 0";

    if payment.amount < 1 {
        return Err(Refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the amount must be at least 1",
        ));
    }
    open_accounts(tx, tenant).await?;
    for (account, change) in [
        (&payment.from, -payment.amount),
        (&payment.to, payment.amount),
    ] {
        let moved = sqlx::query(MOVE).bind(change).bind(tenant).bind(account);
        if moved.execute(&mut *tx).await?.rows_affected() == 0 {
            return Err(refusal(tx, tenant, account).await?);
        }
    }
    let paid = sqlx::query_as(
        "INSERT INTO payments (tenant, debtor, creditor, amount) \
         VALUES ($1, $2, $3, $4) RETURNING *",
    );
    let paid = paid
        .bind(tenant)
        .bind(&payment.from)
        .bind(&payment.to)
        .bind(payment.amount);
    Ok(paid.fetch_one(tx).await?)
}

/// The first payment of a tenant opens two accounts with 1000.00 each.
async fn open_accounts(connection: &mut SqliteConnection, tenant: &str) -> sqlx::Result<()> {
    let accounts = sqlx::query(
        "INSERT INTO accounts (tenant, name, balance) \
         VALUES ($1, 'alice', 100000), ($1, 'bob', 100000) ON CONFLICT DO NOTHING",
    );
    accounts.bind(tenant).execute(connection).await.map(drop)
}

/// Tells why an account can't be changed.
async fn refusal(
    connection: &mut SqliteConnection,
    tenant: &str,
    account: &str,
) -> sqlx::Result<Refusal> {
    let known = sqlx::query("SELECT 1 FROM accounts WHERE tenant = $1 AND name = $2");
    let known = known.bind(tenant).bind(account).fetch_optional(connection);
    Ok(match known.await? {
        Some(_) => Refusal(
            StatusCode::PAYMENT_REQUIRED,
            "the account holds less than the amount",
        ),
        None => Refusal(StatusCode::NOT_FOUND, "there is no such account"),
    })
}

/// The status decides: a 402, 404 or 422 undoes the writes, and is kept as the answer to the key; a 500 undoes them too,
/// and the same request may be sent again.
struct Refusal(StatusCode, &'static str);

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        tracing::error!(%error, "the database failed");
        Self(
            StatusCode::INTERNAL_SERVER_ERROR,
            "send the same request with the same key again",
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self(status, detail) = self;
        let problem = Problem {
            title: status.canonical_reason(),
            status: status.as_u16(),
            detail,
        };
        let content_type = [(CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, content_type, Json(problem)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
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
    if let Some(address) = flags.metrics {
        serve_metrics(address)?; // before the engine, which describes its metrics
    }

    let options = SqliteConnectOptions::from_str(&flags.database_url)?
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let pool = SqlitePool::connect_with(options)
        .await
        .with_context(|| format!("can't open {}", flags.database_url))?;
    sqlx::raw_sql(SCHEMA).execute(&pool).await?;
    let store = SqliteStore::new(pool.clone());
    store.migrate().await?;
    let engine = Engine::new(store);
    let _purge = engine.spawn_purge(Duration::from_mins(1));

    let app = App {
        engine: engine.clone(),
        pool: pool.clone(),
        work: flags.work,
    };
    let listener = TcpListener::bind(flags.listen)
        .await
        .with_context(|| format!("can't listen on {}", flags.listen))?;
    let address = listener.local_addr()?;
    let introduction = introduction(address)?;
    let shutdown = shutdown()?;
    println!("listening on http://{address}\n\n{introduction}");
    let router = Router::new()
        .route(
            "/",
            get(async |headers: HeaderMap| page::home(&headers, introduction)),
        )
        .route("/payments", get(payments).post(create_payment))
        .route("/payments/{id}", get(payment))
        .route("/accounts", get(accounts))
        .route("/records/{key}", get(page::record))
        .with_state(app);
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await?;
    // An attempt goes on when its client has gone.
    engine.drain().await;
    pool.close().await;
    Ok(())
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

/// Prometheus reads the metrics at an address of their own.
#[cfg(feature = "metrics")]
fn serve_metrics(address: SocketAddr) -> anyhow::Result<()> {
    use idem_axum::metrics::{AGE_BUCKETS, DURATION_BUCKETS, REPLAY_AGE};
    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

    PrometheusBuilder::new()
        .with_recommended_naming(true)
        .set_buckets(DURATION_BUCKETS)?
        .set_buckets_for_metric(Matcher::Full(REPLAY_AGE.to_owned()), AGE_BUCKETS)?
        .with_http_listener(address)
        .install()
        .with_context(|| format!("can't serve metrics on {address}"))
}

#[cfg(not(feature = "metrics"))]
fn serve_metrics(_: SocketAddr) -> anyhow::Result<()> {
    anyhow::bail!("build with `--features metrics` for `--metrics`")
}

struct Flags {
    listen: SocketAddr,
    metrics: Option<SocketAddr>,
    database_url: String,
    work: Duration,
}

impl Flags {
    const HELP: &str = "\
--listen ADDRESS      where to listen; port 0 takes a free one [127.0.0.1:3000]
--metrics ADDRESS     where Prometheus reads the metrics, with `--features metrics` [nowhere]
--database-url URL    the database, which is created if it is missing [sqlite:payments.sqlite]
--work-ms NUMBER      milliseconds of pretended work in a payment, to see duplicates meet [0]";

    fn read() -> Result<Self, lexopt::Error> {
        let mut flags = Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            metrics: None,
            database_url: "sqlite:payments.sqlite".to_owned(),
            work: Duration::ZERO,
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("listen") => flags.listen = arguments.value()?.parse()?,
                Long("metrics") => flags.metrics = Some(arguments.value()?.parse()?),
                Long("database-url") => flags.database_url = arguments.value()?.string()?,
                Long("work-ms") => {
                    flags.work = Duration::from_millis(arguments.value()?.parse()?);
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

/// Commands to try, and their answers. The key is new at every start, so that each start pays.
fn introduction(address: SocketAddr) -> anyhow::Result<String> {
    let key = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let payment = |tenant, body| {
        format!(
            "curl -iw '\\n' http://{address}/payments -H 'Authorization: Bearer {tenant}' \
             -H 'Idempotency-Key: demo-{key}' \\\n     \
             -H 'Content-Type: application/json' -d '{body}'"
        )
    };
    let first = payment("acme", r#"{"from":"alice","to":"bob","amount":500}"#);
    let again = payment("acme", r#"{"amount": 500, "to": "bob", "from": "alice"}"#);
    let other = payment("acme", r#"{"from":"alice","to":"bob","amount":501}"#);
    let globex = payment("globex", r#"{"from":"alice","to":"bob","amount":500}"#);
    Ok(format!(
        "\
# In a browser, http://{address} is a page with buttons for this. In a terminal:

# A first request pays.
{first}
#> HTTP/1.1 201 Created

# The same request again, in another layout, pays nothing and gets the same answer.
{again}
#> HTTP/1.1 201 Created
#> idempotency-replayed: true

# The same key with another amount is refused.
{other}
#> HTTP/1.1 422 Unprocessable Entity

# Another tenant has its own keys, and pays.
{globex}
#> HTTP/1.1 201 Created

# The two accounts began with 100000 each; one payment of 500 was made at each start.
curl -iw '\\n' http://{address}/accounts -H 'Authorization: Bearer acme'
#> HTTP/1.1 200 OK

# README.md explains the code, docs/contract.md has the rules, docs/choosing.md helps with scope and TTL.
# Ctrl-C ends the service. The log has a line for each payment, with its outcome:
"
    ))
}
