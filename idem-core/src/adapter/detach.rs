//! An attempt on the request's own task.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Polls a future on the task of its request. If the request is dropped, as when the client leaves,
/// the rest goes to `spawn`, so that the future runs to its end.
///
/// So a handler sees what belongs to the request's task, such as `tokio::task_local!` values, and a
/// request costs no switch between threads. After a detachment those values are gone.
#[derive(Debug)]
pub struct DetachOnDrop<F, S>
where
    S: FnOnce(Pin<Box<F>>),
{
    rest: Option<(Pin<Box<F>>, S)>,
}

impl<F, S> DetachOnDrop<F, S>
where
    F: Future,
    S: FnOnce(Pin<Box<F>>) + Unpin,
{
    /// A future that `spawn` is able to finish.
    pub fn new(future: F, spawn: S) -> Self {
        Self {
            rest: Some((Box::pin(future), spawn)),
        }
    }
}

impl<F, S> Future for DetachOnDrop<F, S>
where
    F: Future,
    S: FnOnce(Pin<Box<F>>) + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some((future, _)) = &mut self.rest else {
            return Poll::Pending; // Polled after its end, which no task does.
        };
        let polled = future.as_mut().poll(context);
        if polled.is_ready() {
            self.rest = None;
        }
        polled
    }
}

impl<F, S> Drop for DetachOnDrop<F, S>
where
    S: FnOnce(Pin<Box<F>>),
{
    fn drop(&mut self) {
        if let Some((future, spawn)) = self.rest.take() {
            spawn(future);
        }
    }
}
