//! Load: clients in a closed loop, for a fixed time.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use uuid::Uuid;

use crate::business::CUSTOMERS;

mod http;
mod store;

pub(crate) use self::http::{HttpClient, Service, request, tenant};
pub(crate) use self::store::StoreClient;

/// In a mixed load, one of this many requests is a replay.
const MIXED: usize = 20;

/// How many keys this many clients choose from.
pub(crate) fn recorded(clients: usize) -> usize {
    (2 * clients).max(16)
}

/// A request: a key and the customer that sends it.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) key: String,
    pub(crate) customer: usize,
}

impl Ask {
    /// A request with a new key.
    pub(crate) fn fresh() -> Self {
        let key = Uuid::new_v4();
        let customer = key.as_u128() % u128::from(CUSTOMERS.unsigned_abs());
        Self {
            key: key.to_string(),
            customer: usize::try_from(customer).unwrap_or_default(),
        }
    }
}

/// Whether a request was executed or answered from a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Executed,
    Replayed,
}

/// A client that sends one request at a time.
pub(crate) trait Client: Send + 'static {
    /// Sends a request and checks the answer.
    fn call(&mut self, ask: &Ask) -> impl Future<Output = Result<Answer>> + Send;
}

/// The keys that clients send.
#[derive(Debug, Clone)]
pub(crate) enum Load {
    /// A new one every time.
    Fresh,
    /// Ones that are recorded.
    Replay(Arc<[Ask]>),
    /// 95 % new ones, 5 % recorded ones.
    Mixed(Arc<[Ask]>),
}

impl Load {
    /// The next request of a client, and the expected result. No two clients replay the same key at
    /// the same time.
    fn ask(&self, client: usize, clients: usize, turn: usize) -> (Ask, Answer) {
        let number = client + turn * clients;
        let recorded = |asks: &[Ask]| (asks[number % asks.len()].clone(), Answer::Replayed);
        match self {
            Self::Replay(asks) => recorded(asks),
            Self::Mixed(asks) if (client + turn).is_multiple_of(MIXED) => recorded(asks),
            Self::Fresh | Self::Mixed(_) => (Ask::fresh(), Answer::Executed),
        }
    }
}

/// The results of a slice of time.
#[derive(Debug, Default)]
pub(crate) struct Slice {
    /// How many requests were answered within the slice.
    pub(crate) answered: u32,
    /// How long each request took. Requests that were answered after the slice are included, so the
    /// longest waits are counted.
    pub(crate) latencies: Vec<Duration>,
    /// How many requests were executed, including those that were answered after the slice.
    pub(crate) executed: u64,
    /// How many requests were replayed, including those that were answered after the slice.
    pub(crate) replayed: u64,
}

impl Slice {
    fn add(&mut self, other: Self) {
        self.answered += other.answered;
        self.latencies.extend(other.latencies);
        self.executed += other.executed;
        self.replayed += other.replayed;
    }
}

/// Lets all clients send for this long.
///
/// # Errors
///
/// If any answer is not the expected one.
pub(crate) async fn drive<C: Client>(
    clients: &mut Vec<C>,
    load: &Load,
    length: Duration,
) -> Result<Slice> {
    let end = Instant::now() + length;
    let count = clients.len();
    let tasks: Vec<_> = clients
        .drain(..)
        .enumerate()
        .map(|(index, client)| {
            let load = load.clone();
            let ask = move |turn| load.ask(index, count, turn);
            tokio::spawn(send_until(end, client, ask))
        })
        .collect();
    let mut all = Slice::default();
    for task in tasks {
        let (client, slice) = task.await??;
        clients.push(client);
        all.add(slice);
    }
    Ok(all)
}

async fn send_until<C: Client>(
    end: Instant,
    mut client: C,
    ask: impl Fn(usize) -> (Ask, Answer),
) -> Result<(C, Slice)> {
    let mut slice = Slice::default();
    for turn in 0.. {
        let start = Instant::now();
        if start >= end {
            break;
        }
        let (ask, expected) = ask(turn);
        let answer = client.call(&ask).await?;
        ensure!(answer == expected, "{answer:?} in place of {expected:?}");
        match answer {
            Answer::Executed => slice.executed += 1,
            Answer::Replayed => slice.replayed += 1,
        }
        let now = Instant::now();
        slice.answered += u32::from(now < end);
        slice.latencies.push(now - start);
    }
    Ok((client, slice))
}

/// Sends this many new requests, and returns them to be replayed.
///
/// # Errors
///
/// If any answer is not the expected one.
pub(crate) async fn record<C: Client>(clients: &mut Vec<C>, count: usize) -> Result<Arc<[Ask]>> {
    let each = count.div_ceil(clients.len());
    let tasks: Vec<_> = clients
        .drain(..)
        .map(|mut client| {
            tokio::spawn(async move {
                let asks: Vec<Ask> = (0..each).map(|_| Ask::fresh()).collect();
                for ask in &asks {
                    let answer = client.call(ask).await?;
                    ensure!(answer == Answer::Executed, "a new key was replayed");
                }
                Ok((client, asks))
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        let (client, asks) = task.await??;
        clients.push(client);
        all.extend(asks);
    }
    Ok(all.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replays(load: &Load) -> usize {
        let asks = (0..16).flat_map(|client| (0..20).map(move |turn| (client, turn)));
        asks.filter(|&(client, turn)| load.ask(client, 16, turn).1 == Answer::Replayed)
            .count()
    }

    #[test]
    fn one_of_twenty_requests_of_a_mixed_load_is_a_replay() {
        let asks: Arc<[Ask]> = [Ask::fresh()].into();
        assert_eq!(replays(&Load::Mixed(Arc::clone(&asks))), 16);
        assert_eq!(replays(&Load::Replay(asks)), 320);
        assert_eq!(replays(&Load::Fresh), 0);
    }
}
