//! The frameworks that the suite runs on.

use std::net::TcpListener;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::database::Database;
use crate::domain::App;

/// The routes that are the same on every framework, added to `$router`.
macro_rules! routes {
    ($router:expr, $deploy:expr) => {{
        let router = $router
            .route("/effects", any(handlers::effect::<C>))
            .route("/patient", post(handlers::patient::<C>))
            .route("/hasty", post(handlers::hasty::<C>))
            .route("/early", post(handlers::early::<C>))
            .route("/read-committed", post(handlers::read_committed::<C>))
            .route("/repeatable-read", post(handlers::repeatable_read::<C>))
            .route("/serializable", post(handlers::serializable::<C>))
            .route("/brief", post(handlers::brief::<C>))
            .route("/bounded", post(handlers::bounded::<C>))
            .route("/capped", post(handlers::capped::<C>))
            .route("/optional", post(handlers::optional::<C>))
            .route("/shared", post(handlers::shared::<C>))
            .route("/replays-success", post(handlers::replays_success::<C>))
            .route("/replays-all", post(handlers::replays_all::<C>))
            .route("/unscoped", post(handlers::unscoped::<C>))
            .route("/raw", post(handlers::raw::<C>))
            .route("/fallible", post(handlers::fallible::<C>))
            .route("/failing", post(handlers::failing::<C>))
            .route("/hidden", post(handlers::hidden::<C>))
            .route("/intended", post(handlers::intended::<C>))
            .route("/form", post(handlers::form::<C>))
            .route("/text", post(handlers::text::<C>))
            .route("/bytes", post(handlers::bytes::<C>))
            .route("/bodiless", post(handlers::bodiless::<C>))
            .route("/webhook", post(handlers::webhook::<C>))
            .route("/conditional", post(handlers::conditional::<C>))
            .route("/secret", post(handlers::secret::<C>))
            .route("/flash", post(handlers::flash::<C>))
            .route("/sorted-query", post(handlers::sorted_query::<C>))
            .route("/trimmed-query", post(handlers::trimmed_query::<C>))
            .route("/unbound-query", post(handlers::unbound_query::<C>))
            .route("/keyed-form", post(handlers::keyed_form::<C>))
            .route("/keyed-optionally", post(handlers::keyed_optionally::<C>))
            .route("/keyed-path/{order}", any(handlers::keyed_path::<C>))
            .route("/keyed-query", any(handlers::keyed_query::<C>))
            .route("/value", post(handlers::value::<C>))
            .route("/numbers", post(handlers::numbers::<C>))
            .route("/ride", post(handlers::ride::<C>))
            .route("/sms", post(handlers::sms::<C>))
            .route("/generated", post(handlers::generated::<C>));
        // The routes that change with a deploy.
        match $deploy {
            Deploy::First => router
                .route("/accounts/{id}/effects", post(handlers::effect::<C>))
                .route("/named/{id}", post(handlers::named::<C>))
                .route("/ttl", post(handlers::effect::<C>))
                .route("/defaulted", post(handlers::effect::<C>))
                .route("/grown", post(handlers::effect::<C>))
                .route("/fields", post(handlers::fields::<C>)),
            Deploy::Second => router
                .route("/accounts/{account}/effects", post(handlers::effect::<C>))
                .route("/{name}/{id}", post(handlers::named::<C>))
                .route("/ttl", post(handlers::brief::<C>))
                .route("/defaulted", post(handlers::defaulted::<C>))
                .route("/grown", post(handlers::grown::<C>))
                .route("/fields", post(handlers::flattened::<C>)),
        }
    }};
}

mod actix;
mod axum;
mod bodies;
mod local;
mod tenant;

pub use self::actix::Actix;
pub use self::axum::Axum;
pub use self::bodies::{Keyed, NewEffect};
pub(crate) use self::local::local;
pub use self::tenant::Tenant;

/// The largest request body on `/limited`.
const LIMIT: usize = 1000;

/// A web framework with the handlers of the test service.
///
/// Every framework has the same routes, with the handlers of `framework/handlers.rs`.
pub trait Framework<D: Database>: Send + Sync + 'static {
    /// The status for a body of another shape than the handler's.
    const MISSHAPEN: u16;

    /// The status for a body of another media type.
    const MISTYPED: u16;

    /// Serves one instance until it is stopped and its requests are answered.
    fn serve(
        app: App<D::Connection>,
        deploy: Deploy,
        listener: TcpListener,
        stop: oneshot::Receiver<()>,
    ) -> BoxFuture<'static, ()>;
}

/// Two releases of the service, which differ in a few routes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deploy {
    /// The earlier release.
    #[default]
    First,
    /// The later release.
    Second,
}
