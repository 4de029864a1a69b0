//! The test service: the same handlers on each framework.

use std::future::pending;
use std::net::TcpListener;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use idem_core::{Attempt, Engine, StepError, StepStore, Steps};
use idem_redis::Redis;
use idem_tests::{Act, Body, Control, Reply, RideError};
use tokio::sync::oneshot;

use crate::provider::Provider;

/// The largest request body on `/limited`.
const LIMIT: usize = 1000;

/// The routes, added to `$router`.
macro_rules! routes {
    ($router:expr) => {
        $router
            .route("/effects", any(handlers::effect))
            .route("/accounts/{id}/effects", post(handlers::effect))
            .route("/patient", post(handlers::patient))
            .route("/hasty", post(handlers::hasty))
            .route("/brief", post(handlers::brief))
            .route("/bounded", post(handlers::bounded))
            .route("/capped", post(handlers::capped))
            .route("/optional", post(handlers::optional))
            .route("/unscoped", post(handlers::unscoped))
            .route("/named/{id}", post(handlers::named))
            .route("/replays-success", post(handlers::replays_success))
            .route("/replays-all", post(handlers::replays_all))
            .route("/raw", post(handlers::raw))
            .route("/webhook", post(handlers::webhook))
            .route("/conditional", post(handlers::conditional))
            .route("/sorted-query", post(handlers::sorted_query))
            .route("/secret", post(handlers::secret))
            .route("/flash", post(handlers::flash))
            .route("/keyed-form", post(handlers::keyed_form))
            .route("/keyed-path/{order}", any(handlers::keyed_path))
            .route("/ride/1", post(handlers::ride))
            .route("/ride/2", post(handlers::next_ride))
            .route("/sms", post(handlers::sms))
    };
}

/// A web framework with the handlers of the test service.
pub(crate) trait Framework: Send + Sync + 'static {
    /// The status for a body of another shape than the handler's.
    const MISSHAPEN: u16;

    /// Serves one instance until it is stopped and its requests are answered.
    fn serve(
        app: App,
        listener: TcpListener,
        stop: oneshot::Receiver<()>,
    ) -> BoxFuture<'static, ()>;
}

/// The state that all handlers of one instance share.
#[derive(Debug, Clone)]
pub(crate) struct App {
    pub(crate) engine: Engine<StepStore<Redis>>,
    pub(crate) control: Arc<Control>,
    pub(crate) provider: Arc<Provider>,
}

impl App {
    /// The body of most handlers: plays the next scene. [`Act::Insert`] is a call to the other service, and
    /// [`Act::Wait`] is a call that returns at the gate.
    pub(crate) async fn play(
        &self,
        steps: &mut Steps<Redis>,
        attempt: &Attempt,
        label: &str,
    ) -> Result<Reply, RideError> {
        let (scene, _running) = self.control.visit(attempt);
        for (place, act) in (0_u64..).zip(&scene.acts) {
            match act {
                Act::Insert => {
                    let charge = async |key: idem_core::StepKey| {
                        self.provider.charge(&key);
                        Ok::<_, StepError>(())
                    };
                    steps.call(("charge", place), charge).await?;
                }
                Act::Wait => {
                    let wait = async |_| {
                        self.control.wait_at_gate().await;
                        Ok::<_, StepError>(())
                    };
                    steps.call(("gate", place), wait).await?;
                }
                Act::Hang => pending().await,
                Act::Panic => panic!("the scene says so"),
                Act::AfterCommit => {
                    let control = Arc::clone(&self.control);
                    attempt.after_commit(async move { control.commit() });
                }
                other => panic!("not an act of steps: {other:?}"),
            }
        }
        Ok(self.control.completed(scene.reply, attempt, label))
    }

    /// Two calls, each with a scene of its own. With the label `pauses`, the first attempt waits at the gate between
    /// them, and with `panics` it panics there. With the label `swallows`, the attempt swallows the error of a step.
    async fn ride(
        &self,
        steps: &mut Steps<Redis>,
        attempt: &Attempt,
        label: &str,
    ) -> Result<Reply, RideError> {
        let call = async |key| self.control.call(key, attempt).await;
        let ride = steps.call("ride", call).await?;
        if attempt.number() == 1 {
            match label {
                "pauses" => self.control.wait_at_gate().await,
                "panics" => panic!("the label says so"),
                _ => {}
            }
        }
        let paid = steps.call("paid", call).await?;
        if label == "swallows" {
            let twice = steps.call("paid", call).await;
            assert!(twice.is_err(), "the name is used twice");
        }
        let number = attempt.number();
        let json = format!(r#"{{"ride":{ride},"paid":{paid},"attempt":{number}}}"#);
        Ok(Reply {
            body: Body::Bytes(json.into()),
            ..Reply::new(201)
        })
    }

    /// A ride whose second step has another name.
    async fn next_ride(
        &self,
        steps: &mut Steps<Redis>,
        attempt: &Attempt,
        _label: &str,
    ) -> Result<Reply, RideError> {
        let call = async |key| self.control.call(key, attempt).await;
        let settled = steps.call("settled", call).await?;
        Ok(Reply::bytes(201, settled.to_string()))
    }

    async fn sms(
        &self,
        steps: &mut Steps<Redis>,
        attempt: &Attempt,
        _label: &str,
    ) -> Result<Reply, RideError> {
        self.control.sms(steps, attempt).await
    }
}

mod actix;
mod axum;
