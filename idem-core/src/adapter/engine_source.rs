//! Which part of the application's state holds the engine.

use std::marker::PhantomData;
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

/// Tells engines apart: clones of one have one address.
pub fn address<S: Store>(engine: &Engine<S>) -> usize {
    Arc::as_ptr(&engine.shared).addr()
}
