//! The engine of a request.

use std::any::type_name;
use std::future::Future;

use actix_web::dev::Payload;
use actix_web::{Error, FromRequest, HttpRequest, web};
use idem_core::adapter::{self, ByExtractor, Named, Of, PointsToEngine, Source, StoreOf};
use idem_core::{Engine, Provider, Transaction};

use crate::installed::Installed;
use crate::request::refused;
use crate::response::respond;

/// The way from a request to its engine.
pub trait Locate: Source {
    /// The engine, or an error that is the answer.
    fn locate(request: &HttpRequest) -> impl Future<Output = Result<Engine<StoreOf<Self>>, Error>>;
}

impl<T: Transaction> Locate for Of<T> {
    async fn locate(request: &HttpRequest) -> Result<Engine<T::Store>, Error> {
        installed::<Engine<T::Store>>(request)
    }
}

impl<P: Provider> Locate for Named<P> {
    async fn locate(request: &HttpRequest) -> Result<Engine<P::Store>, Error> {
        installed::<P>(request)
    }
}

impl<T: FromRequest + PointsToEngine> Locate for ByExtractor<T> {
    async fn locate(request: &HttpRequest) -> Result<Engine<StoreOf<Self>>, Error> {
        let extracted = T::from_request(request, &mut Payload::None).await;
        let extracted = extracted.map_err(Into::into)?;
        Ok(extracted.provider().engine().clone())
    }
}

/// The engine in the application's data.
fn installed<P: Provider>(request: &HttpRequest) -> Result<Engine<P::Store>, Error> {
    let Some(provider) = request.app_data::<web::Data<P>>() else {
        tracing::error!(
            "the application has no `web::Data<{}>`; add `.configure(idem_actix::engine(…))`",
            type_name::<P>()
        );
        return Err(refused(respond(adapter::misconfigured())));
    };
    if let Some(installed) = request.app_data::<Installed<P>>()
        && installed.is_doubtful(provider)
    {
        tracing::error!(
            "the application has two engines of the type `{}`, and this one has replaced the \
             other; give one of them a type of its own, which implements `Provider`, and \
             name it on its handlers, as in `store = Billing`",
            type_name::<P>()
        );
        return Err(refused(respond(adapter::misconfigured())));
    }
    Ok(provider.engine().clone())
}
