//! The engine of an endpoint.

use crate::engine::Engine;
use crate::store::Store;

/// A part of the application's state that holds an [`Engine`].
///
/// An application with one database keeps the engine itself in its state. An application with two
/// databases of one kind names a provider by `store = Billing`:
///
/// ```
/// # #[cfg(feature = "sqlite")] {
/// # use idem_core::{Engine, Provider, SqliteStore};
/// #[derive(Clone)]
/// struct Billing(Engine<SqliteStore>);
///
/// impl Provider for Billing {
///     type Store = SqliteStore;
///
///     fn engine(&self) -> &Engine<SqliteStore> {
///         &self.0
///     }
/// }
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` holds no engine",
    label = "not a provider of a store",
    note = "`Engine::new(store)` makes an engine of a store; it is cheap to clone, so it needs no `Arc` around it",
    note = "a type of your own that holds an engine implements `Provider`",
    note = "in `#[idempotent]`, `store` names the part of the application's state that holds the engine, and is left out if there is one database of this kind"
)]
pub trait Provider: Clone + Send + Sync + 'static {
    /// The engine's store.
    type Store: Store;

    /// The engine.
    fn engine(&self) -> &Engine<Self::Store>;
}

impl<S: Store> Provider for Engine<S> {
    type Store = S;

    fn engine(&self) -> &Self {
        self
    }
}
