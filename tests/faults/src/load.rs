//! Clients that continue after every error.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use idem_tests::Request;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::history::History;

/// Running clients.
#[derive(Debug)]
pub(crate) struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
    history: History,
}

/// The number of times that a client sends a request before it takes another key.
const TRIES: usize = 20;

impl Load {
    /// Starts this many clients, each with one key after another. `request` makes the request of a
    /// key, which is also the label of its effect. Its argument changes with every try.
    pub(crate) fn start(
        clients: usize,
        name: &str,
        request: impl Fn(&str, usize) -> Request + Clone + Send + 'static,
    ) -> Self {
        let (history, stop) = (History::default(), Arc::new(AtomicBool::new(false)));
        let keys = Arc::new(AtomicUsize::new(0));
        let mut load = Self {
            clients: JoinSet::new(),
            stop: Arc::clone(&stop),
            history: history.clone(),
        };
        for client in 0..clients {
            let (request, history) = (request.clone(), history.clone());
            let (stop, keys, name) = (Arc::clone(&stop), Arc::clone(&keys), name.to_owned());
            load.clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let label = format!("{name}-{}", keys.fetch_add(1, Ordering::Relaxed));
                    for attempt in 0..TRIES {
                        let answer = request(&label, client + attempt).attempt().await;
                        let is_last = answer.as_ref().is_some_and(|answer| answer.status == 201);
                        history.add(&label, answer);
                        // Sometimes a success is sent again: a double click.
                        if stop.load(Ordering::Relaxed) || is_last && attempt % 4 != 0 {
                            break;
                        }
                        if !is_last {
                            sleep(Duration::from_millis(10)).await;
                        }
                    }
                }
            });
        }
        load
    }

    /// The results so far and later.
    pub(crate) fn history(&self) -> &History {
        &self.history
    }

    /// Waits until every client has ended its request.
    pub(crate) async fn stop(mut self) -> History {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("a client does not panic");
        }
        self.history
    }
}
