//! Flags, logs and signals.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// How often expired records are purged.
pub(crate) const PURGE_EVERY: Duration = Duration::from_mins(1);

/// The flags that every example service has.
#[derive(Debug, Args)]
pub struct Flags {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3000")]
    pub listen: SocketAddr,

    /// Milliseconds of pretended work inside a handler's transaction, to see duplicates meet.
    #[arg(long, default_value_t = 0)]
    pub work_ms: u64,
}

impl Flags {
    /// The pretended work.
    pub fn work(&self) -> Duration {
        Duration::from_millis(self.work_ms)
    }
}

/// Logs to stderr, as `RUST_LOG` says.
pub fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}

/// Waits for Ctrl-C or SIGTERM.
pub(crate) fn shutdown() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    })
}

pub(crate) fn introduce(address: SocketAddr) {
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

# another tenant has keys of its own, and pays
curl -i http://{address}/payments -H 'Authorization: Bearer globex' -H 'Idempotency-Key: k1' \
     -H 'Content-Type: application/json' -d '{{"from":"alice","to":"bob","amount":500}}'

# what came of it
curl http://{address}/accounts -H 'Authorization: Bearer acme'"#
    );
}
