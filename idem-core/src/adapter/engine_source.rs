//! Which part of the application's state holds the engine.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use crate::engine::Engine;
use crate::provider::Provider;
use crate::store::Store;
use crate::transaction::Transaction;

/// Which part of the state holds the engine.
///
/// A type of its own, and not a projection in the handler's signature: on a signature with
/// `<sqlx::Transaction<'_, _> as Transaction>::Store` in it, incremental builds with rustc 1.95 can
/// crash (<https://github.com/rust-lang/rust/issues/155740>).
pub trait Source {
    type Provider: Provider;
}

/// The store of a source's engine.
pub type StoreOf<P> = <<P as Source>::Provider as Provider>::Store;

/// The engine for a handler's transaction.
#[derive(Debug)]
pub struct Of<T>(PhantomData<fn() -> T>);

impl<T: Transaction> Source for Of<T> {
    type Provider = Engine<T::Store>;
}

/// The engine that `store = …` names.
#[derive(Debug)]
pub struct Named<P>(PhantomData<fn() -> P>);

impl<P: Provider> Source for Named<P> {
    type Provider = P;
}

/// The engine to which an extractor points, that `store = extractor(…)` names.
#[derive(Debug)]
pub struct ByExtractor<T>(PhantomData<fn() -> T>);

impl<T: PointsToEngine> Source for ByExtractor<T> {
    type Provider = T::Provider;
}

/// The same as `P`, for a state that is an `Arc` of the state that `P` is for.
#[derive(Debug)]
pub struct InArc<P>(PhantomData<fn() -> P>);

impl<P: Source> Source for InArc<P> {
    type Provider = P::Provider;
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` does not point to an engine",
    label = "not an extractor of an engine",
    note = "`store = extractor(…)` names an extractor that dereferences to the engine: one of your own with `Deref<Target = Engine<_>>`, `Extension<Engine<_>>` on axum, `ReqData<Engine<_>>` on actix-web",
    note = "a part of the application's state is named without `extractor`, as in `store = Billing`"
)]
pub trait PointsToEngine {
    type Provider: Provider;

    fn provider(&self) -> &Self::Provider;
}

#[diagnostic::do_not_recommend]
impl<T: Deref<Target: Provider>> PointsToEngine for T {
    type Provider = T::Target;

    fn provider(&self) -> &T::Target {
        self
    }
}

/// Tells engines apart: clones of one have one address.
pub fn address<S: Store>(engine: &Engine<S>) -> usize {
    Arc::as_ptr(&engine.shared).addr()
}
