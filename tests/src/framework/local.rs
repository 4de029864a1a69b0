//! A task-local value that a middleware sets on the request's own task.

use tracing::Instrument as _;

/// The value that the middleware of `/local` sets.
const VALUE: &str = "set by the middleware";

tokio::task_local! {
    static LOCAL: &'static str;
}

/// Runs the rest of a request inside a task-local value and inside a span named `middleware`.
pub(super) async fn bind<T>(rest: impl Future<Output = T>) -> T {
    let span = tracing::info_span!("middleware");
    LOCAL.scope(VALUE, rest).instrument(span).await
}

/// The value, if it is set.
pub(crate) fn local() -> Option<&'static str> {
    LOCAL.try_with(|value| *value).ok()
}
