//! Payments on axum after a real authentication: `cargo run -p payments-auth`.
//!
//! A bearer token is looked up, and its claims say whose keys a request may use: `scope = "claims.tenant"`. Extractors
//! run for every request before the key is looked at, so a replay is only for a caller that may make the payment.
//!
//! The tokens are opaque: random bytes, of which the database has a digest. A stolen table opens no door, a token can be
//! revoked at once, and nothing has to be added for it. With signed tokens, such as JWTs, `Claims` would verify a
//! signature instead; the handler would be the same.
//!
//! `/openapi.json` describes the service, and has the contract of the key too.

use std::net::SocketAddr;
use std::str::FromStr as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get};
use axum::{Json, Router};
use idem_axum::{Engine, SqliteStore, idempotent};
use lexopt::{
    Arg::{Long, Short},
    ValueExt as _,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{FromRow, Row as _, SqliteConnection, SqlitePool};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{OpenApi, ToSchema};

/// Two users of a tenant share their keys; another tenant has its own. The body of this function doesn't run for a
/// replay, so a check of the caller's rights belongs in an extractor too.
// recipe: endpoint
#[idempotent(ttl = "24h", scope = "claims.tenant")]
#[utoipa::path(
    post,
    path = "/payments",
    summary = "Pays once for each key",
    security(("token" = [])),
    responses(
        (status = 201, description = "Paid", body = Payment),
        (status = 400, description = "The body is not JSON", body = String, content_type = "text/plain"),
        (status = 401, description = "No token that is valid"),
        (status = 413, description = "The body is too long", body = String, content_type = "text/plain"),
        (status = 415, description = "The body's type is not JSON", body = String, content_type = "text/plain"),
        (status = 422, description = "The JSON is not a payment", body = String, content_type = "text/plain"),
        (status = 500, description = "The database failed"),
    ),
)]
async fn create_payment(
    tx: &mut SqliteConnection,
    claims: Claims,
    State(app): State<App>,
    Json(payment): Json<NewPayment>,
) -> Result<(StatusCode, Json<Payment>), Refusal> {
    let paid = sqlx::query_as(
        "INSERT INTO payments (tenant, payer, debtor, creditor, amount) \
         VALUES ($1, $2, $3, $4, $5) RETURNING *",
    );
    let paid = paid
        .bind(&claims.tenant)
        .bind(&claims.user)
        .bind(&payment.from)
        .bind(&payment.to)
        .bind(payment.amount)
        .fetch_one(tx)
        .await?;
    tokio::time::sleep(app.work).await;
    Ok((StatusCode::CREATED, Json(paid)))
}
// recipe: end

#[utoipa::path(
    get,
    path = "/payments",
    security(("token" = [])),
    responses(
        (status = 200, description = "All payments", body = [Payment]),
        (status = 401, description = "No token that is valid"),
        (status = 500, description = "The database failed"),
    ),
)]
async fn payments(claims: Claims, State(app): State<App>) -> Result<Json<Vec<Payment>>, Refusal> {
    let payments = sqlx::query_as("SELECT * FROM payments WHERE tenant = $1 ORDER BY id");
    let payments = payments.bind(claims.tenant).fetch_all(&app.pool).await?;
    Ok(Json(payments))
}

/// Revokes the token of the request.
#[utoipa::path(
    delete,
    path = "/token",
    security(("token" = [])),
    responses(
        (status = 204, description = "Revoked"),
        (status = 401, description = "No token that is valid"),
        (status = 500, description = "The database failed"),
    ),
)]
async fn log_out(token: Token, State(app): State<App>) -> Result<StatusCode, Refusal> {
    let deleted = sqlx::query("DELETE FROM tokens WHERE digest = $1");
    let deleted = deleted.bind(token.digest()).execute(&app.pool).await?;
    match deleted.rows_affected() {
        0 => Err(Refusal::Unauthorized),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// The document as it is written at the handlers, completed with the contract of the engine's endpoints.
// recipe: document
fn document(engine: &Engine<SqliteStore>) -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(paths(create_payment, payments, log_out))]
    struct Document;

    let mut document = Document::openapi();
    engine.describe(&mut document);
    let token = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", token);
    document
}
// recipe: end

/// What is known of the caller after the authentication.
struct Claims {
    tenant: String,
    user: String,
}

impl FromRequestParts<App> for Claims {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let token = Token::from_request_parts(parts, app).await?;
        let claims = sqlx::query_as(
            "SELECT tenant, user FROM tokens WHERE digest = $1 AND expires_at > unixepoch()",
        );
        let claims: Option<(String, String)> = claims
            .bind(token.digest())
            .fetch_optional(&app.pool)
            .await?;
        let (tenant, user) = claims.ok_or(Refusal::Unauthorized)?;
        Ok(Self { tenant, user })
    }
}

/// 32 random bytes in hex, as the client has them.
struct Token(String);

impl Token {
    /// Writes a new token for a user, which is valid for an hour.
    async fn issue(pool: &SqlitePool, tenant: &str, user: &str) -> anyhow::Result<Self> {
        let mut random = [0; 32];
        getrandom::fill(&mut random).context("no random bytes")?;
        let token = Self(random.map(|byte| format!("{byte:02x}")).concat());
        let issued = sqlx::query(
            "INSERT INTO tokens (digest, tenant, user, expires_at) \
             VALUES ($1, $2, $3, unixepoch() + 3600)",
        );
        let issued = issued.bind(token.digest()).bind(tenant).bind(user);
        issued.execute(pool).await?;
        Ok(token)
    }

    /// A digest without a salt is enough for random bytes: nobody can guess them. It would not be for passwords.
    fn digest(&self) -> Vec<u8> {
        Sha256::digest(&self.0).to_vec()
    }
}

impl<S: Sync> FromRequestParts<S> for Token {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let header = parts.headers.get(AUTHORIZATION);
        let token = header
            .and_then(|value| value.to_str().ok()?.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| Self(token.trim().to_owned()));
        token.ok_or(Refusal::Unauthorized)
    }
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

// The body of a request. `Serialize` binds it to the key: the same key with another body is refused.
#[derive(Serialize, Deserialize, ToSchema)]
struct NewPayment {
    #[schema(example = "alice")]
    from: String,
    #[schema(example = "bob")]
    to: String,
    /// In minor units.
    #[schema(example = 500)]
    amount: u32,
}

#[derive(Serialize, ToSchema)]
struct Payment {
    id: i64,
    /// The user that made it.
    payer: String,
    from: String,
    to: String,
    amount: u32,
}

// sqlx's derive would write this, and would take longer to build.
impl FromRow<'_, SqliteRow> for Payment {
    fn from_row(row: &SqliteRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            payer: row.try_get("payer")?,
            from: row.try_get("debtor")?,
            to: row.try_get("creditor")?,
            amount: row.try_get("amount")?,
        })
    }
}

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS tokens (
        digest     BLOB    NOT NULL PRIMARY KEY,
        tenant     TEXT    NOT NULL,
        user       TEXT    NOT NULL,
        expires_at INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE IF NOT EXISTS payments (
        id       INTEGER PRIMARY KEY AUTOINCREMENT,
        tenant   TEXT    NOT NULL,
        payer    TEXT    NOT NULL,
        debtor   TEXT    NOT NULL,
        creditor TEXT    NOT NULL,
        amount   INTEGER NOT NULL
    ) STRICT;
";

enum Refusal {
    Unauthorized,
    Database(sqlx::Error),
}

impl From<sqlx::Error> for Refusal {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Unauthorized => {
                let challenge = [(WWW_AUTHENTICATE, "Bearer")];
                (StatusCode::UNAUTHORIZED, challenge).into_response()
            }
            Self::Database(error) => {
                tracing::error!(%error, "the database failed");
                StatusCode::INTERNAL_SERVER_ERROR.into_response()
            }
        }
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
    let store = SqliteStore::new(pool.clone());
    store.migrate().await?;
    let engine = Engine::new(store);
    let _purge = engine.spawn_purge(Duration::from_mins(1));

    let document = document(&engine);
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
    let Token(ann) = Token::issue(&pool, "acme", "ann").await?;
    let Token(ben) = Token::issue(&pool, "acme", "ben").await?;
    let Token(gus) = Token::issue(&pool, "globex", "gus").await?;
    let shutdown = shutdown()?;
    println!("listening on http://{address}\n");
    println!("ANN={ann}   # of acme\nBEN={ben}   # of acme too\nGUS={gus}   # of globex\n");
    println!("{introduction}");
    let router = Router::new()
        .route("/", get(introduction))
        .route("/openapi.json", get(Json(document)))
        .route("/payments", get(payments).post(create_payment))
        .route("/token", delete(log_out))
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

struct Flags {
    listen: SocketAddr,
    database_url: String,
    work: Duration,
}

impl Flags {
    const HELP: &str = "\
--listen ADDRESS      where to listen; port 0 takes a free one [127.0.0.1:3000]
--database-url URL    the database, which is created if it is missing [sqlite:payments-auth.sqlite]
--work-ms NUMBER      milliseconds of pretended work in a payment, to see duplicates meet [0]";

    fn read() -> Result<Self, lexopt::Error> {
        let mut flags = Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            database_url: "sqlite:payments-auth.sqlite".to_owned(),
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

/// Commands to try, and their answers. The key is new at every start, so that each start pays.
fn introduction(address: SocketAddr) -> anyhow::Result<String> {
    let key = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let payment = |token| {
        format!(
            "curl -iw '\\n' http://{address}/payments -H \"Authorization: Bearer ${token}\" \
             -H 'Idempotency-Key: demo-{key}' \\\n     \
             -H 'Content-Type: application/json' -d '{{\"from\":\"alice\",\"to\":\"bob\",\"amount\":500}}'"
        )
    };
    let [of_ann, of_ben, of_gus] = ["ANN", "BEN", "GUS"].map(payment);
    Ok(format!(
        r#"# A first request pays. The service has printed the tokens at its start.
{of_ann}
#> HTTP/1.1 201 Created

# A colleague's is the same request: it gets the same answer, and pays nothing.
{of_ben}
#> HTTP/1.1 201 Created
#> idempotency-replayed: true

# Another tenant has its own keys, and pays.
{of_gus}
#> HTTP/1.1 201 Created

# A token is revoked.
curl -iw '\n' -X DELETE http://{address}/token -H "Authorization: Bearer $ANN"
#> HTTP/1.1 204 No Content

# From now on it gets no replay.
{of_ann}
#> HTTP/1.1 401 Unauthorized

# README.md explains the code, docs/contract.md has the rules, docs/choosing.md helps with scope and TTL.
# Ctrl-C ends the service. The log has a line for each payment, with its outcome:
"#
    ))
}
