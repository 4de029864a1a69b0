//! A hook in the transaction, before each handler.

use http::Extensions;
use idem_core::adapter::{BeforeHandler, HookFuture};
use idem_core::{Attempt, Engine, Store};

/// Runs `hook` in the transaction of every handler of an engine, after the claim and before the handler:
/// to set the tenant for row level security, or the author for an audit table ([rule H2]).
///
/// It gets the transaction's connection, the [`Attempt`] with the scope, and the request's extensions,
/// as the layers around the endpoint have left them. It first reads what it needs, and then returns a
/// future on the connection alone:
///
/// ```
/// # use idem_axum::{Engine, PostgresStore};
/// # fn engine(engine: Engine<PostgresStore>) {
/// # #[derive(Clone)] struct User(String);
/// let engine = idem_axum::before_handler(engine, |tx, attempt, extensions| {
///     let tenant = attempt.scope().unwrap_or_default().to_owned();
///     let user = extensions.get::<User>().map(|user| user.0.clone());
///     Box::pin(async move {
///         sqlx::query("SELECT set_config('app.tenant', $1, true), set_config('app.user', $2, true)")
///             .bind(tenant)
///             .bind(user)
///             .execute(tx)
///             .await?;
///         Ok(())
///     })
/// });
/// # }
/// ```
///
/// It does not run on a replay. Its time counts for the endpoint's `deadline`. If it fails, the handler
/// does not run, and the answer is 503 `try-again`. Its writes are kept or undone with the handler's. Before the
/// closure of [`Engine::once`] it runs, too, and gets empty extensions.
///
/// [rule H2]: idem_core::_documentation::contract#h-the-handlers-view
///
/// # Panics
///
/// If the engine has been cloned already.
#[must_use]
pub fn before_handler<S, F>(engine: Engine<S>, hook: F) -> Engine<S>
where
    S: Store,
    F: for<'c> Fn(&'c mut S::Connection, &Attempt, &Extensions) -> HookFuture<'c>
        + Send
        + Sync
        + 'static,
{
    engine.with_before_handler(BeforeHandler::new(hook))
}
