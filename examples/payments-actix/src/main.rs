//! Payments on actix-web and an embedded SQLite file: `cargo run -p payments-actix`.
//!
//! A payment moves money between two accounts of a tenant. `#[idempotent]` on `create_payment` lets it happen once
//! for each `Idempotency-Key`, however often the request is sent. `/openapi.json` describes the service, and has the
//! contract of that endpoint too.

use std::borrow::Cow;
use std::fmt;
use std::future::{Ready, ready};
use std::net::{SocketAddr, TcpListener};
use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION, WWW_AUTHENTICATE};
use actix_web::web::{Data, Json, Path};
use actix_web::{
    App as Application, FromRequest, HttpRequest, HttpResponse, HttpServer, Responder,
    ResponseError, get, post,
};
use anyhow::Context as _;
use idem_actix::{Engine, Scope, SqliteStore, idempotent};
use lexopt::{
    Arg::{Long, Short},
    ValueExt as _,
};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{FromRow, Row as _, SqliteConnection, SqlitePool};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{OpenApi, ToSchema};

/// `tx` is the transaction of the payment, of the key's record and of the recorded response. The attribute opens it
/// before this function and commits it after.
#[idempotent(ttl = "24h", scope = "tenant")]
#[utoipa::path(
    post,
    path = "/payments",
    summary = "Pays once for each key",
    request_body = NewPayment,
    security(("tenant" = [])),
    responses(
        (status = 201, description = "Paid", body = Payment, headers(("Location", description = "The payment"))),
        (status = 400, description = "The body is not a payment", body = String, content_type = "text/plain"),
        (status = 401, description = "No tenant", body = Problem, content_type = "application/problem+json"),
        (status = 402, description = "The account holds too little", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such account", body = Problem, content_type = "application/problem+json"),
        (status = 413, description = "The body is too long", body = String, content_type = "text/plain"),
        (status = 422, description = "The amount is not positive", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The database failed", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[post("/payments")]
async fn create_payment(
    tx: &mut SqliteConnection,
    tenant: Tenant,
    app: Data<App>,
    payment: Json<NewPayment>,
) -> Result<impl Responder, Refusal> {
    let payment = pay(tx, &tenant.0, &payment).await?;
    tokio::time::sleep(app.work).await;
    let location = (LOCATION, format!("/payments/{}", payment.id));
    let answer = Json(payment).customize();
    Ok(answer
        .with_status(StatusCode::CREATED)
        .insert_header(location))
}

#[utoipa::path(
    get,
    path = "/payments",
    security(("tenant" = [])),
    responses(
        (status = 200, description = "All payments", body = [Payment]),
        (status = 401, description = "No tenant", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The database failed", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[get("/payments")]
async fn list_payments(tenant: Tenant, app: Data<App>) -> Result<Json<Vec<Payment>>, Refusal> {
    let payments = sqlx::query_as("SELECT * FROM payments WHERE tenant = $1 ORDER BY id");
    Ok(Json(payments.bind(tenant.0).fetch_all(&app.pool).await?))
}

#[utoipa::path(
    get,
    path = "/payments/{id}",
    params(("id" = i64, Path)),
    security(("tenant" = [])),
    responses(
        (status = 200, description = "The payment", body = Payment),
        (status = 401, description = "No tenant", body = Problem, content_type = "application/problem+json"),
        (status = 404, description = "There is no such payment", content(
            (Problem = "application/problem+json"),
            (String = "text/plain"),
        )),
        (status = 500, description = "The database failed", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[get("/payments/{id}")]
async fn show_payment(
    tenant: Tenant,
    app: Data<App>,
    id: Path<i64>,
) -> Result<Json<Payment>, Refusal> {
    let payment = sqlx::query_as("SELECT * FROM payments WHERE tenant = $1 AND id = $2");
    let payment = payment.bind(tenant.0).bind(*id).fetch_optional(&app.pool);
    let unknown = Refusal(StatusCode::NOT_FOUND, "there is no such payment");
    payment.await?.map(Json).ok_or(unknown)
}

#[utoipa::path(
    get,
    path = "/accounts",
    security(("tenant" = [])),
    responses(
        (status = 200, description = "All accounts", body = [Account]),
        (status = 401, description = "No tenant", body = Problem, content_type = "application/problem+json"),
        (status = 500, description = "The database failed", body = Problem, content_type = "application/problem+json"),
    ),
)]
#[get("/accounts")]
async fn list_accounts(tenant: Tenant, app: Data<App>) -> Result<Json<Vec<Account>>, Refusal> {
    let accounts = sqlx::query_as("SELECT * FROM accounts WHERE tenant = $1 ORDER BY name");
    Ok(Json(accounts.bind(tenant.0).fetch_all(&app.pool).await?))
}

#[get("/")]
async fn introduce(app: Data<App>) -> String {
    app.introduction.clone()
}

#[get("/openapi.json")]
async fn describe(app: Data<App>) -> HttpResponse {
    HttpResponse::Ok().json(&app.openapi)
}

/// The document as it is written at the handlers, completed with the contract of the engine's endpoints.
fn document(engine: &Engine<SqliteStore>) -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(create_payment, list_payments, show_payment, list_accounts))]
    struct Document;

    let mut document = Document::openapi();
    engine.describe(&mut document);
    let tenant = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("tenant", tenant);
    document
}

/// The data of the handlers.
struct App {
    openapi: utoipa::openapi::OpenApi,
    pool: SqlitePool,
    /// Pretended work inside the transaction.
    work: Duration,
    introduction: String,
}

/// The owner of accounts and keys: here the bearer token itself, in `examples/payments-auth` a verified one.
struct Tenant(String);

impl FromRequest for Tenant {
    type Error = Refusal;
    type Future = Ready<Result<Self, Refusal>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = request.headers().get(AUTHORIZATION);
        let token = header
            .and_then(|value| value.to_str().ok()?.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim())
            .filter(|token| !token.is_empty());
        let tenant = token.map(|token| Self(token.to_owned()));
        ready(tenant.ok_or(Refusal(
            StatusCode::UNAUTHORIZED,
            "send `Authorization: Bearer TENANT`",
        )))
    }
}

/// Two tenants may use the same key; each has its own records.
impl Scope for Tenant {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

// The body of a request. `Serialize` binds it to the key: the same key with another body is refused.
#[derive(Serialize, Deserialize, ToSchema)]
struct NewPayment {
    #[schema(example = "alice")]
    from: String,
    #[schema(example = "bob")]
    to: String,
    /// In minor units.
    #[schema(minimum = 1, example = 500)]
    amount: i64,
}

#[derive(Serialize, ToSchema)]
struct Payment {
    id: i64,
    from: String,
    to: String,
    amount: i64,
    created_at: String,
}

#[derive(Serialize, ToSchema)]
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
#[derive(Debug)]
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

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.1)
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.0
    }

    fn error_response(&self) -> HttpResponse {
        let Self(status, detail) = *self;
        let problem = Problem {
            title: status.canonical_reason(),
            status: status.as_u16(),
            detail,
        };
        let mut response = HttpResponse::build(status);
        if status == StatusCode::UNAUTHORIZED {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        response.json(problem)
    }
}

/// RFC 9457.
#[derive(Serialize, ToSchema)]
struct Problem {
    title: Option<&'static str>,
    status: u16,
    detail: &'static str,
}

#[actix_web::main]
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

    let listener = TcpListener::bind(flags.listen)
        .with_context(|| format!("can't listen on {}", flags.listen))?;
    let address = listener.local_addr()?;
    let introduction = introduction(address)?;
    println!("listening on http://{address}\n\n{introduction}");
    let app = Data::new(App {
        openapi: document(&engine),
        pool: pool.clone(),
        work: flags.work,
        introduction,
    });
    // Each worker makes an application; the engine is made once, outside, so that they share it.
    let server = HttpServer::new({
        let engine = engine.clone();
        move || {
            Application::new()
                .app_data(app.clone())
                .configure(idem_actix::engine(engine.clone()))
                .service(introduce)
                .service(describe)
                .service(create_payment)
                .service(list_payments)
                .service(show_payment)
                .service(list_accounts)
        }
    });
    // Until Ctrl-C or SIGTERM, and then until every attempt has ended.
    idem_actix::run(server.listen(listener)?, engine.drain()).await?;
    pool.close().await;
    Ok(())
}

/// Prometheus reads the metrics at an address of their own.
#[cfg(feature = "metrics")]
fn serve_metrics(address: SocketAddr) -> anyhow::Result<()> {
    use idem_actix::metrics::{AGE_BUCKETS, DURATION_BUCKETS, REPLAY_AGE};
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
