//! Text messages that a carrier sends: `cargo run --bin sms`.
//!
//! This service has no SQL database, so there is no transaction that its records could be in. They are in Redis, and
//! `send_message` takes `&mut Steps<Redis>`: one attempt at a time, a step that may have happened is not made
//! again, and a repeated request gets the first answer. `docs/choosing.md` says when that is enough.
//!
//! The carrier takes no idempotency key. But it can be asked for a reference, so the step is a `call_once`.

mod carrier;
mod server;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use axum::extract::{FromRef, FromRequestParts, State};
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use idem_axum::{Engine, Scope, StepError, StepStore, Steps, idempotent};
use idem_redis::Redis;
use lexopt::{
    Arg::{Long, Short},
    ValueExt as _,
};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::carrier::{Carrier, NoAnswer, Sent};
use crate::server::Server;

/// After the process has died, the key is held until the `lease` is over.
#[idempotent(ttl = "24h", scope = "customer", lease = "5s", deadline = "20s")]
async fn send_message(
    steps: &mut Steps<Redis>,
    customer: Customer,
    State(carrier): State<Carrier>,
    Json(new): Json<NewMessage>,
) -> Result<(StatusCode, Json<Sent>), SmsError> {
    new.check()?;
    let text = format!("{}: {}", customer.0, new.text);
    // Before the call its intent is recorded. If there is no result after that, the carrier is asked.
    let sent = steps
        .call_once(
            "send",
            async |key| Ok::<_, SmsError>(carrier.send(&key, &new.to, &text).await?),
            async |key| Ok(carrier.recover(&key).await?),
        )
        .await?;
    Ok((StatusCode::ACCEPTED, Json(sent)))
}

async fn messages(State(carrier): State<Carrier>) -> Json<Vec<Sent>> {
    Json(carrier.sent())
}

/// The state of the router. The attribute finds the engine in it, by `FromRef`.
#[derive(Clone)]
struct App {
    engine: Engine<StepStore<Redis>>,
    carrier: Carrier,
}

impl FromRef<App> for Engine<StepStore<Redis>> {
    fn from_ref(app: &App) -> Self {
        app.engine.clone()
    }
}

impl FromRef<App> for Carrier {
    fn from_ref(app: &App) -> Self {
        app.carrier.clone()
    }
}

/// The owner of messages and keys: here the bearer token itself, in `examples/payments-auth` that of a verified token.
struct Customer(String);

impl<S: Sync> FromRequestParts<S> for Customer {
    type Rejection = SmsError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, SmsError> {
        let header = parts.headers.get(AUTHORIZATION);
        let token = header.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        let customer = token.map(|token| Self(token.to_owned()));
        customer.ok_or(SmsError::Refused(
            StatusCode::UNAUTHORIZED,
            "send `Authorization: Bearer CUSTOMER`",
        ))
    }
}

impl Scope for Customer {
    fn scope(&self) -> Cow<'_, str> {
        Cow::Borrowed(&self.0)
    }
}

/// The body of a request. `Serialize` binds it to the key: the same key with another body is refused.
#[derive(Serialize, Deserialize)]
struct NewMessage {
    to: String,
    text: String,
}

impl NewMessage {
    fn check(&self) -> Result<(), SmsError> {
        let digits = self.to.strip_prefix('+').unwrap_or_default();
        let is_number =
            (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        is_number.then_some(()).ok_or(SmsError::Refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            "`to` is a `+` and 7 to 15 digits",
        ))
    }
}

/// A step's own error is passed on; the request is then answered with that error's problem. Otherwise the status
/// decides: a 422 is kept as the answer to the key; after a 503 a retry asks the carrier.
enum SmsError {
    Step(StepError),
    Refused(StatusCode, &'static str),
}

impl From<StepError> for SmsError {
    fn from(error: StepError) -> Self {
        Self::Step(error)
    }
}

impl From<NoAnswer> for SmsError {
    fn from(_: NoAnswer) -> Self {
        Self::Refused(
            StatusCode::SERVICE_UNAVAILABLE,
            "the carrier did not answer; send the same request with the same key again",
        )
    }
}

impl IntoResponse for SmsError {
    fn into_response(self) -> Response {
        match self {
            Self::Step(error) => error.into_response(),
            Self::Refused(status, detail) => (status, detail).into_response(),
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

    // It ends with this function.
    let server = match &flags.redis_url {
        Some(_) => None,
        None => Some(Server::start()?),
    };
    let url = server.as_ref().map(Server::url).or(flags.redis_url);
    let url = url.context("there is a server")?;
    let store = server::connect(&url).await?;
    // Refuses a server that evicts keys, and warns of one that forgets them in a crash.
    store.check().await.context("this Redis is no store")?;
    let app = App {
        engine: Engine::new(store.steps()),
        carrier: Carrier::default(),
    };
    let engine = app.engine.clone();
    let listener = TcpListener::bind(flags.listen)
        .await
        .with_context(|| format!("can't listen on {}", flags.listen))?;
    let address = listener.local_addr()?;
    let introduction = introduction(address)?;
    let shutdown = shutdown()?;
    println!("records in {url}\nlistening on http://{address}\n\n{introduction}");
    let router = Router::new()
        .route("/", get(introduction))
        .route("/messages", get(messages).post(send_message))
        .with_state(app);
    axum::serve(listener, router)
        .with_graceful_shutdown(shutdown)
        .await?;
    // An attempt goes on when its client has gone.
    engine.drain().await;
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
    redis_url: Option<String>,
}

impl Flags {
    const HELP: &str = "\
--listen ADDRESS     where to listen; port 0 takes a free one [127.0.0.1:3000]
--redis-url URL      a Redis or Valkey server, such as redis://127.0.0.1/ [a throw-away one of this process]";

    fn read() -> Result<Self, lexopt::Error> {
        let mut flags = Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            redis_url: None,
        };
        let mut arguments = lexopt::Parser::from_env();
        while let Some(argument) = arguments.next()? {
            match argument {
                Long("listen") => flags.listen = arguments.value()?.parse()?,
                Long("redis-url") => flags.redis_url = Some(arguments.value()?.string()?),
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

/// Commands to try, and their answers. The key is new at every start, so that each start sends.
fn introduction(address: SocketAddr) -> anyhow::Result<String> {
    let key = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let send = |text| {
        format!(
            "curl -iw '\\n' http://{address}/messages -H 'Authorization: Bearer ann' \
             -H 'Idempotency-Key: demo-{key}' \\\n     \
             -H 'Content-Type: application/json' -d '{{\"to\":\"+15550100\",\"text\":\"{text}\"}}'"
        )
    };
    let (first, other) = (send("your code is 1234"), send("your code is 5678"));
    Ok(format!(
        "\
# A first request sends a message.
{first}
#> HTTP/1.1 202 Accepted

# The same request again gets the same answer. Nothing is sent.
{first}
#> HTTP/1.1 202 Accepted
#> idempotency-replayed: true

# The same key with another text is refused.
{other}
#> HTTP/1.1 422 Unprocessable Entity

# What the carrier has sent.
curl -iw '\\n' http://{address}/messages
#> HTTP/1.1 200 OK

# Ctrl-C ends the service. The log has a line for each message, with its outcome:
"
    ))
}
