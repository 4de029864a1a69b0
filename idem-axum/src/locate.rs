//! The engine of a request.

use std::future::Future;
use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use axum::response::{IntoResponse as _, Response};
use http::request::Parts;
use idem_core::adapter::{ByExtractor, InArc, Named, Of, PointsToEngine, Source, StoreOf};
use idem_core::{Engine, Provider, Transaction};

/// The way from a request to its engine, on a router with the state `S`.
pub trait Locate<S>: Source {
    /// The engine, or an extractor's rejection.
    fn locate(
        parts: &mut Parts,
        state: &S,
    ) -> impl Future<Output = Result<Engine<StoreOf<Self>>, Response>> + Send;
}

impl<S: Sync, T: Transaction> Locate<S> for Of<T>
where
    Engine<T::Store>: FromRef<S>,
{
    async fn locate(_: &mut Parts, state: &S) -> Result<Engine<T::Store>, Response> {
        Ok(Engine::from_ref(state))
    }
}

impl<S: Sync, P: Provider + FromRef<S>> Locate<S> for Named<P> {
    async fn locate(_: &mut Parts, state: &S) -> Result<Engine<P::Store>, Response> {
        Ok(P::from_ref(state).engine().clone())
    }
}

impl<S: Send + Sync, P: Locate<S>> Locate<Arc<S>> for InArc<P> {
    async fn locate(parts: &mut Parts, state: &Arc<S>) -> Result<Engine<StoreOf<P>>, Response> {
        P::locate(parts, state).await
    }
}

impl<S: Send + Sync, T> Locate<S> for ByExtractor<T>
where
    T: FromRequestParts<S> + PointsToEngine,
{
    async fn locate(parts: &mut Parts, state: &S) -> Result<Engine<StoreOf<Self>>, Response> {
        match T::from_request_parts(parts, state).await {
            Ok(extracted) => Ok(extracted.provider().engine().clone()),
            Err(rejection) => Err(rejection.into_response()),
        }
    }
}
