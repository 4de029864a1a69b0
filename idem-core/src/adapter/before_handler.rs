//! A hook in the transaction, between the claim and the handler.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::attempt::Attempt;
use crate::store::{BoxError, Store};

/// The future of a hook, which has the connection `'c`.
pub type HookFuture<'c> = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'c>>;

/// What an adapter runs in a store's transactions before each handler. The request is of the framework's
/// own type, which the adapter knows.
pub struct BeforeHandler<S: Store> {
    hook: Arc<Hook<S>>,
    request: TypeId,
}

type Hook<S> = dyn for<'c> Fn(&'c mut <S as Store>::Connection, &Attempt, &dyn Any) -> HookFuture<'c>
    + Send
    + Sync;

impl<S: Store> BeforeHandler<S> {
    /// A hook that reads a request of the type `R`.
    pub fn new<R, F>(hook: F) -> Self
    where
        R: Any,
        F: for<'c> Fn(&'c mut S::Connection, &Attempt, &R) -> HookFuture<'c>
            + Send
            + Sync
            + 'static,
    {
        Self {
            hook: Arc::new(
                move |connection, attempt, request| match request.downcast_ref() {
                    Some(request) => hook(connection, attempt, request),
                    None => Box::pin(async { Err("the hook is of another framework".into()) }),
                },
            ),
            request: TypeId::of::<R>(),
        }
    }

    /// Whether it reads a request of the type `R`.
    pub(crate) fn takes<R: Any>(&self) -> bool {
        self.request == TypeId::of::<R>()
    }

    /// Runs the hook.
    ///
    /// # Errors
    ///
    /// The hook's own, with the place where it happened.
    pub fn run<'c>(
        &self,
        connection: &'c mut S::Connection,
        attempt: &Attempt,
        request: &dyn Any,
    ) -> impl Future<Output = Result<(), BoxError>> + Send + 'c + use<'c, S> {
        let done = (self.hook)(connection, attempt, request);
        async {
            done.await
                .map_err(|error| format!("before the handler: {error}").into())
        }
    }
}

impl<S: Store> Clone for BeforeHandler<S> {
    fn clone(&self) -> Self {
        Self {
            hook: Arc::clone(&self.hook),
            request: self.request,
        }
    }
}

impl<S: Store> fmt::Debug for BeforeHandler<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BeforeHandler")
    }
}
