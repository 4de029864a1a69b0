//! The engine of a consumer.

use std::sync::Arc;

use idem_core::adapter::{ByExtractor, InArc, Named, Of, PointsToEngine, Source, StoreOf};
use idem_core::{Engine, Provider, Transaction};

use crate::delivery::{Delivery, FromDelivery, FromRef, Rejection};

/// The way from a delivery to its engine, for a consumer with the state `S`.
pub trait Locate<S>: Source {
    /// The engine, or an argument's rejection.
    fn locate(delivery: &Delivery, state: &S) -> Result<Engine<StoreOf<Self>>, Rejection>;
}

impl<S, T: Transaction> Locate<S> for Of<T>
where
    Engine<T::Store>: FromRef<S>,
{
    fn locate(_: &Delivery, state: &S) -> Result<Engine<T::Store>, Rejection> {
        Ok(Engine::from_ref(state))
    }
}

impl<S, P: Provider + FromRef<S>> Locate<S> for Named<P> {
    fn locate(_: &Delivery, state: &S) -> Result<Engine<P::Store>, Rejection> {
        Ok(P::from_ref(state).engine().clone())
    }
}

impl<S, P: Locate<S>> Locate<Arc<S>> for InArc<P> {
    fn locate(delivery: &Delivery, state: &Arc<S>) -> Result<Engine<StoreOf<P>>, Rejection> {
        P::locate(delivery, state)
    }
}

impl<S, T: FromDelivery<S> + PointsToEngine> Locate<S> for ByExtractor<T> {
    fn locate(delivery: &Delivery, state: &S) -> Result<Engine<StoreOf<Self>>, Rejection> {
        let extracted = T::from_delivery(delivery, state)?;
        Ok(extracted.provider().engine().clone())
    }
}
