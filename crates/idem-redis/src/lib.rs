//! Idempotency keys in Redis or Valkey, for handlers of `#[idempotent]` that write no SQL: their effects are
//! calls to other services.
//!
//! Such a handler takes `steps: &mut Steps<Redis>`. Its key is held by a lease in Redis, the result of each call is
//! recorded there, and at last the response:
//!
//! ```
//! use axum::Router;
//! use axum::extract::{FromRef, State};
//! use axum::http::StatusCode;
//! use axum::routing::post;
//! use idem_axum::{Engine, StepError, StepStore, Steps, idempotent};
//! use idem_redis::{Redis, RedisStore};
//!
//! #[idempotent(ttl = "24h", unscoped, lease = "10s", deadline = "60s", state = App)]
//! async fn charge(
//!     steps: &mut Steps<Redis>,
//!     State(provider): State<Provider>,
//! ) -> Result<(StatusCode, String), StepError> {
//!     // At least once, always with this key. Each later attempt gets the recorded result.
//!     let receipt: String = steps.call("charge", async |key| provider.charge(&key).await).await?;
//!     Ok((StatusCode::CREATED, receipt))
//! }
//!
//! async fn app(provider: Provider) -> Result<Router, idem_axum::StoreError> {
//!     let store = RedisStore::connect("redis://127.0.0.1/").await?;
//!     store.check().await?;
//!     let app = App { engine: Engine::new(store.steps()), provider };
//!     Ok(Router::new().route("/charges", post(charge)).with_state(app))
//! }
//!
//! #[derive(Clone)]
//! struct App {
//!     engine: Engine<StepStore<Redis>>,
//!     provider: Provider,
//! }
//! #
//! # #[derive(Clone)]
//! # struct Provider;
//! #
//! # impl Provider {
//! #     async fn charge(&self, _key: &str) -> Result<String, StepError> {
//! #         Ok(String::new())
//! #     }
//! # }
//! #
//! # impl FromRef<App> for Engine<StepStore<Redis>> {
//! #     fn from_ref(app: &App) -> Self {
//! #         app.engine.clone()
//! #     }
//! # }
//! #
//! # impl FromRef<App> for Provider {
//! #     fn from_ref(app: &App) -> Self {
//! #         app.provider.clone()
//! #     }
//! # }
//! ```
//!
//! # What holds
//!
//! For as long as the Redis server keeps what it has acknowledged, rules T1 to T14 of the
//! [contract](https://docs.rs/idem-core/latest/idem_core/_documentation/contract/index.html) hold, except for
//! those of `commit` steps:
//!
//! - One attempt at a time has the key. The server's clock decides when another one may take over, and never whether
//!   a late one may write: each script compares the number and the name of the attempt with those of the last claim.
//! - Each call has the same key in every attempt, and its result is recorded once.
//! - A record is replayed until it expires, and is replaced by nothing before that.
//! - If the server does not answer, or does not take the password, the answer is 503 `unavailable`, and the handler is not
//!   entered. Nothing fails open.
//! - Scripts are idempotent. A command whose answer was lost is sent again, up to 5 s for a step or a record.
//!
//! # What is weaker than in an SQL database
//!
//! - **There is no transaction of the handler.** `Steps::commit` does not exist:
//!
//!   ```compile_fail
//!   # use idem_core::{StepError, Steps};
//!   # use idem_redis::Redis;
//!   async fn handler(steps: &mut Steps<Redis>) -> Result<(), StepError> {
//!       steps.commit("ride", async |tx| Ok::<_, StepError>(())).await
//!   }
//!   ```
//!
//!   where a call compiles:
//!
//!   ```
//!   # use idem_core::{StepError, Steps};
//!   # use idem_redis::Redis;
//!   async fn handler(steps: &mut Steps<Redis>) -> Result<(), StepError> {
//!       steps.call("ride", async |key| Ok::<_, StepError>(())).await
//!   }
//!   ```
//!
//!   A handler that writes SQL keeps its record in the same SQL database.
//! - **A failover can lose the last writes**, as replication is asynchronous. A lost claim lets two attempts overlap:
//!   their calls carry one key, and the settlement of the older one is refused. A lost record runs the request again,
//!   with the same keys for its calls. [`Durability::Replicas`] makes both need the loss of that many replicas, too:
//!   an answer is sent only if they have it. It is no consensus: a failover to another replica can still lose it. An
//!   erasure that is lost brings records back; with `Replicas` it fails if too few have it. The same erasure once more
//!   finds those records gone, and waits for nobody: look at the replicas before you take it for done.
//! - **A crash can lose the last writes**, unless the server has `appendonly yes` and `appendfsync always`. With
//!   `everysec`, the default, it is the last second.
//! - **An evicted key is a lost record.** [`RedisStore::check`] refuses a server that evicts.
//! - **The clock of a replica that is promoted is another clock.** Where it is ahead, a lease ends earlier.
//!
//! # Layout
//!
//! One hash for each identity: `idem:` and 64 hex digits ([`RedisStore::with_prefix`]). It expires one second after its
//! content, by the server itself, so there is nothing to purge. The first 32 digits are of the scope. `Engine::erase`
//! deletes all keys that begin with them, and it scans all keys of the server for that; so do `stats` and
//! `unfinished_runs`. They are for operators. An erasure during a resharding of a cluster can miss keys that move:
//! erase again after it. A key can be counted twice by `stats` while the server resizes its table.
//!
//! A record with a response of 250 bytes takes 1.4 kB of the server's memory. With `hash-max-listpack-value 1024` it takes
//! half of that, as the server then stores such hashes without a table.
//!
//! # Connections
//!
//! All requests share one connection, and one for each server of a cluster. A connection that fails, or that is silent
//! for the time of [`RedisStore::with_timeout`], is replaced. With [`Durability::Replicas`] there are eight more, as a
//! `WAIT` holds up all that comes after it. While too few replicas answer, claims on these eight wait as well, also for
//! replays.
//!
//! A fresh request with one call is three round trips: claim, step, record. A replay is one.
//!
//! With the feature `tls`, install rustls's provider of cryptography at the start, as in
//! `rustls::crypto::ring::default_provider().install_default()`. The tests run on Redis 7.0. They have passed on Valkey 9.1 as
//! well, and on Redis 6.2 without those of clusters.
//!
//! The user of the URL needs the keys `~idem:*` and the rights to `EVAL`, `EVALSHA`, `HSET`, `HGET`, `HMGET`, `HGETALL`, `HDEL`, `HSTRLEN`, `HINCRBY`,
//! `EXISTS`, `DEL`, `PEXPIREAT` and `TIME`; [`Durability::Replicas`] needs `WAIT`;
//! operators need `SCAN` and `UNLINK`; [`RedisStore::check`] and the command line need `INFO`. The client of a cluster
//! needs `CLUSTER`.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod check;
mod hash;
mod link;
mod runs;
mod scan;
mod scripts;
mod send;
mod store;

pub use self::store::{Durability, Redis, RedisStore};
#[doc(no_inline)]
pub use redis;
