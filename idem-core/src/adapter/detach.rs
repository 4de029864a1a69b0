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
    F: ?Sized,
    S: FnOnce(Pin<Box<F>>),
{
    rest: Option<(Pin<Box<F>>, S)>,
}

impl<F, S> DetachOnDrop<F, S>
where
    F: Future + ?Sized,
    S: FnOnce(Pin<Box<F>>) + Unpin,
{
    /// A future that `spawn` is able to finish.
    ///
    /// It comes in a box of `dyn Future + Send` where it has to be `Send`: the compiler can't see
    /// that of a generic attempt from outside (<https://github.com/rust-lang/rust/issues/100013>).
    pub fn new(future: Pin<Box<F>>, spawn: S) -> Self {
        Self {
            rest: Some((future, spawn)),
        }
    }
}

impl<F, S> Future for DetachOnDrop<F, S>
where
    F: Future + ?Sized,
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
    F: ?Sized,
    S: FnOnce(Pin<Box<F>>),
{
    fn drop(&mut self) {
        if let Some((future, spawn)) = self.rest.take() {
            spawn(future);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::sync::Arc;

    use tokio::sync::{Notify, oneshot};

    use super::*;

    type Spawn<F> = Box<dyn FnOnce(Pin<Box<F>>) + Send>;

    fn on_this_runtime<F>() -> Spawn<F>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let runtime = tokio::runtime::Handle::current();
        Box::new(move |rest| {
            runtime.spawn(rest);
        })
    }

    tokio::task_local! {
        static TENANT: &'static str;
    }

    #[tokio::test]
    async fn o10_a_future_is_polled_on_the_task_of_its_request() {
        let future = async { TENANT.get() };
        let request = DetachOnDrop::new(Box::pin(future), on_this_runtime());
        assert_eq!(TENANT.scope("acme", request).await, "acme");
    }

    #[tokio::test]
    async fn o10_a_future_that_is_dropped_runs_to_its_end() {
        for polls in 0..3 {
            let (go, ended) = (Arc::new(Notify::new()), oneshot::channel());
            let (started, end) = (Arc::clone(&go), ended.0);
            let future = async move {
                started.notified().await;
                end.send(()).unwrap();
            };
            let mut request = DetachOnDrop::new(Box::pin(future), on_this_runtime());
            for _ in 0..polls {
                assert!(futures_util::poll!(&mut request).is_pending());
            }
            drop(request);
            go.notify_one();
            ended.1.await.unwrap();
        }
    }

    #[tokio::test]
    async fn o10_a_future_that_has_ended_is_not_spawned() {
        let request = DetachOnDrop::new(Box::pin(ready(1)), |_| panic!("nothing is left"));
        assert_eq!(request.await, 1);
    }

    #[test]
    fn o10_a_future_that_outlives_its_runtime_is_dropped() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let alive = Arc::new(());
        let held = Arc::clone(&alive);
        let future = async move {
            std::future::pending::<()>().await;
            drop(held);
        };
        let entered = runtime.enter();
        let request = DetachOnDrop::new(Box::pin(future), on_this_runtime());
        drop(entered);
        drop(runtime);
        drop(request);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}
