//! Attempts whose client has left, on the thread of their worker.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;

use actix_web::rt;
use idem_core::adapter::Response;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// The rest of an attempt.
pub(crate) type Rest = Pin<Box<dyn Future<Output = Response>>>;

/// Finishes attempts that lost their request.
///
/// A worker can drop a request anywhere, even while the worker ends, and not every place can spawn
/// a task. So a task that was spawned earlier receives the attempts. After the worker has ended,
/// there is no receiver, and the attempts are undone.
#[derive(Clone)]
pub(crate) struct Detached(UnboundedSender<Rest>);

impl Detached {
    /// The finisher of the present worker.
    ///
    /// # Panics
    ///
    /// Outside of a worker, as actix-web itself does.
    pub(crate) fn of_this_worker() -> Self {
        thread_local! {
            static DETACHED: RefCell<Option<Detached>> = const { RefCell::new(None) };
        }
        DETACHED.with_borrow_mut(|detached| {
            // A thread can outlive its worker, for example in tests.
            let is_open = |detached: &Self| !detached.0.is_closed();
            match detached.take().filter(is_open) {
                Some(open) => detached.insert(open),
                None => detached.insert(Self::spawn()),
            }
            .clone()
        })
    }

    fn spawn() -> Self {
        let (sender, mut receiver) = unbounded_channel::<Rest>();
        rt::spawn(async move {
            while let Some(rest) = receiver.recv().await {
                rt::spawn(rest);
            }
        });
        Self(sender)
    }

    /// Runs an attempt to its end.
    pub(crate) fn finish(&self, rest: Rest) {
        // Without a receiver, the worker has ended.
        let _ = self.0.send(rest);
    }
}
