//! Which engine an endpoint uses.

use crate::engine::Engine;
use crate::store::Store;

/// A part of the application's state that holds an [`Engine`].
///
/// An application with one database keeps the engine itself in its state. One with two databases
/// of a kind says which by `store = Billing`:
///
/// ```
/// # use idem_core::store::Store;
/// use idem_core::{Engine, Provider};
///
/// #[derive(Clone)]
/// struct Billing<S>(Engine<S>);
///
/// impl<S: Store> Provider for Billing<S> {
///     type Store = S;
///
///     fn engine(&self) -> &Engine<S> {
///         &self.0
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` holds no engine",
    label = "not a provider of a store",
    note = "implement `Provider` for it, or leave `store` out if the application has one database of this kind"
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
