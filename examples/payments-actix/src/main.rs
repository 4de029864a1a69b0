//! Payments on actix-web and an embedded SQLite file: `cargo run -p payments-actix`.
//!
//! A payment moves money between two accounts of a tenant. `#[idempotent]` on `create_payment` lets it happen once
//! for each `Idempotency-Key`, however often the request is sent.

use std::borrow::Cow;
use std::fmt;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::str::FromStr as _;
use std::time::Duration;

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

/// `tx` is the transaction of the payment, of the key's record and of the recorded response. The attribute opens it
/// before this function and commits it after.
#[post("/payments")]
#[idempotent(ttl = "24h", scope = "tenant")]
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

#[get("/payments")]
async fn list_payments(tenant: Tenant, app: Data<App>) -> Result<Json<Vec<Payment>>, Refusal> {
    let payments = sqlx::query_as("SELECT * FROM payments WHERE tenant = $1 ORDER BY id");
    Ok(Json(payments.bind(tenant.0).fetch_all(&app.pool).await?))
}

#[get("/payments/{id}")]
async fn show_payment(
    tenant: Tenant,
    app: Data<App>,
    id: Path<i64>,
) -> Result<Json<Payment>, Refusal> {
    let mut connection = app.pool.acquire().await?;
    Ok(Json(find(&mut connection, &tenant.0, *id).await?))
}

#[get("/accounts")]
async fn list_accounts(tenant: Tenant, app: Data<App>) -> Result<Json<Vec<Account>>, Refusal> {
    const ACCOUNTS: &str = "SELECT * FROM accounts WHERE tenant = $1 ORDER BY name";

    let mut connection = app.pool.acquire().await?;
    let accounts = sqlx::query_as(ACCOUNTS).bind(&tenant.0);
    let accounts = accounts.fetch_all(&mut *connection).await?;
    if !accounts.is_empty() {
        return Ok(Json(accounts));
    }
    open_accounts(&mut connection, &tenant.0).await?;
    let accounts = sqlx::query_as(ACCOUNTS).bind(&tenant.0);
    Ok(Json(accounts.fetch_all(&mut *connection).await?))
}

/// The data of the handlers.
struct App {
    pool: SqlitePool,
    /// Pretended work inside the transaction.
    work: Duration,
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
        ready(tenant.ok_or(Refusal::NoTenant))
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
    note: Option<String>,
}

#[derive(Serialize)]
struct Payment {
    id: i64,
    from: String,
    to: String,
    amount: i64,
    note: Option<String>,
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
            note: row.try_get("note")?,
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
        note       TEXT,
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
        return Err(Refusal::Invalid("the amount must be at least 1"));
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
    let id = sqlx::query_scalar(
        "INSERT INTO payments (tenant, debtor, creditor, amount, note) \
         VALUES ($1, $2, $3, $4, $5) RETURNING id",
    );
    let id = id
        .bind(tenant)
        .bind(&payment.from)
        .bind(&payment.to)
        .bind(payment.amount)
        .bind(&payment.note)
        .fetch_one(&mut *tx)
        .await?;
    find(tx, tenant, id).await
}

/// A new tenant has two accounts with 1000.00 each.
async fn open_accounts(connection: &mut SqliteConnection, tenant: &str) -> sqlx::Result<()> {
    let accounts = sqlx::query(
        "INSERT INTO accounts (tenant, name, balance) \
         VALUES ($1, 'alice', 100000), ($1, 'bob', 100000) ON CONFLICT DO NOTHING",
    );
    accounts.bind(tenant).execute(connection).await.map(drop)
}

async fn find(
    connection: &mut SqliteConnection,
    tenant: &str,
    id: i64,
) -> Result<Payment, Refusal> {
    let payment = sqlx::query_as("SELECT * FROM payments WHERE tenant = $1 AND id = $2");
    let payment = payment.bind(tenant).bind(id).fetch_optional(connection);
    payment.await?.ok_or(Refusal::Unknown("the payment"))
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
        Some(_) => Refusal::InsufficientFunds,
        None => Refusal::Unknown("the account"),
    })
}

/// The status decides: what a 402, 404 or 422 has written is undone and the answer is kept for the key; a 500 is
/// undone too, and the same request may be sent again.
#[derive(Debug)]
enum Refusal {
    NoTenant,
    Unknown(&'static str),
    InsufficientFunds,
    Invalid(&'static str),
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTenant => f.write_str("send `Authorization: Bearer TENANT`"),
            Self::Unknown(what) => write!(f, "{what} is not known"),
            Self::InsufficientFunds => f.write_str("the account holds less than the amount"),
            Self::Invalid(detail) => f.write_str(detail),
            Self::Database(_) => f.write_str("send the same request with the same key again"),
        }
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::NoTenant => StatusCode::UNAUTHORIZED,
            Self::Unknown(_) => StatusCode::NOT_FOUND,
            Self::InsufficientFunds => StatusCode::PAYMENT_REQUIRED,
            Self::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Database(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    fn error_response(&self) -> HttpResponse {
        if let Self::Database(error) = self {
            tracing::error!(%error, "the database failed");
        }
        let title = match self {
            Self::NoTenant => "No tenant",
            Self::Unknown(_) => "Not found",
            Self::InsufficientFunds => "Insufficient funds",
            Self::Invalid(_) => "Invalid request",
            Self::Database(_) => "Request failed",
        };
        let mut response = HttpResponse::build(self.status_code());
        if matches!(self, Self::NoTenant) {
            response.insert_header((WWW_AUTHENTICATE, "Bearer"));
        }
        response.insert_header((CONTENT_TYPE, "application/problem+json"));
        response.json(Problem {
            title,
            status: self.status_code().as_u16(),
            detail: self.to_string(),
        })
    }
}

/// RFC 9457.
#[derive(Serialize)]
struct Problem {
    title: &'static str,
    status: u16,
    detail: String,
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    let flags = Flags::read().unwrap_or_else(|error| {
        eprintln!("{error}\n\n{}", Flags::HELP);
        std::process::exit(2);
    });
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
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
    let store = SqliteStore::new(pool.clone());
    store.migrate().await?;
    let engine = Engine::new(store);
    let _purge = engine.spawn_purge(Duration::from_mins(1));

    let app = Data::new(App {
        pool: pool.clone(),
        work: flags.work,
    });
    // Each worker makes an application; the engine is made once, outside, so that they share it.
    let server = HttpServer::new({
        let engine = engine.clone();
        move || {
            Application::new()
                .app_data(app.clone())
                .configure(idem_actix::engine(engine.clone()))
                .service(create_payment)
                .service(list_payments)
                .service(show_payment)
                .service(list_accounts)
        }
    });
    let server = server
        .bind(flags.listen)
        .with_context(|| format!("can't listen on {}", flags.listen))?;
    for address in server.addrs() {
        introduce(address);
    }
    // Until Ctrl-C or SIGTERM, and then until every attempt has ended.
    idem_actix::run(server, engine.drain()).await?;
    pool.close().await;
    Ok(())
}

struct Flags {
    listen: SocketAddr,
    database_url: String,
    work: Duration,
}

impl Flags {
    const HELP: &str = "\
--listen ADDRESS      where to listen; port 0 takes a free one [127.0.0.1:3000]
--database-url URL    the database, which is created if it is missing [sqlite:payments.sqlite]
--work-ms NUMBER      milliseconds of pretended work in a payment, to see duplicates meet [0]";

    fn read() -> Result<Self, lexopt::Error> {
        let mut flags = Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            database_url: "sqlite:payments.sqlite".to_owned(),
            work: Duration::ZERO,
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("listen") => flags.listen = arguments.value()?.parse()?,
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

fn introduce(address: SocketAddr) {
    println!("listening on http://{address}");
    println!(
        r#"
# a first request pays, and answers 201
curl -i http://{address}/payments -H 'Authorization: Bearer acme' -H 'Idempotency-Key: k1' \
     -H 'Content-Type: application/json' -d '{{"from":"alice","to":"bob","amount":500}}'

# the same request again pays nothing, and answers the same with Idempotency-Replayed: true
curl -i http://{address}/payments -H 'Authorization: Bearer acme' -H 'Idempotency-Key: k1' \
     -H 'Content-Type: application/json' -d '{{"amount": 500, "to": "bob", "from": "alice"}}'

# another amount with the same key is refused with 422
curl -i http://{address}/payments -H 'Authorization: Bearer acme' -H 'Idempotency-Key: k1' \
     -H 'Content-Type: application/json' -d '{{"from":"alice","to":"bob","amount":501}}'

# another tenant has its own keys, and pays
curl -i http://{address}/payments -H 'Authorization: Bearer globex' -H 'Idempotency-Key: k1' \
     -H 'Content-Type: application/json' -d '{{"from":"alice","to":"bob","amount":500}}'

# the balances
curl http://{address}/accounts -H 'Authorization: Bearer acme'"#
    );
}
