//! The frameworks that the suite runs on.

use std::net::TcpListener;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;

use crate::database::Database;
use crate::domain::App;

mod axum;

pub use self::axum::Axum;

/// A web framework with the handlers of the test service.
///
/// Every framework has the same routes; they are listed in `framework/axum.rs`.
pub trait Framework<D: Database>: Send + Sync + 'static {
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
    /// The release before.
    #[default]
    First,
    /// The release after.
    Second,
}
