//! A service with one handler in steps, and the other service that it calls.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{FromRef, State};
use axum::http::{Request, StatusCode};
use axum::routing::post;
use idem_axum::{Engine, StepError, StepStore, Steps, idempotent};
use idem_redis::{Redis, RedisStore};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

/// The lease of the handler.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) engine: Engine<StepStore<Redis>>,
    pub(crate) state: Arc<Calls>,
}

/// What the handler has done.
#[derive(Debug)]
pub(crate) struct Calls {
    /// The keys of the calls to the other service.
    keys: Mutex<Vec<String>>,
    entered: Mutex<usize>,
    /// Permits for calls to return.
    pub(crate) in_call: Semaphore,
    /// Permits for the handler to return after its calls.
    pub(crate) at_end: Semaphore,
    at_the_end: Mutex<usize>,
}

impl FromRef<Service> for Engine<StepStore<Redis>> {
    fn from_ref(service: &Service) -> Self {
        service.engine.clone()
    }
}

impl FromRef<Service> for Arc<Calls> {
    fn from_ref(service: &Service) -> Self {
        Arc::clone(&service.state)
    }
}

#[idempotent(ttl = "24h", unscoped, lease = "1s", deadline = "20s", wait = "0s", state = Service)]
async fn pay(
    steps: &mut Steps<Redis>,
    State(calls): State<Arc<Calls>>,
) -> Result<(StatusCode, String), StepError> {
    *calls.entered.lock().expect("no panic") += 1;
    let charge: String = steps
        .call("charge", async |key| {
            let number = {
                let mut keys = calls.keys.lock().expect("no panic");
                keys.push(key.to_string());
                keys.len()
            };
            calls.in_call.acquire().await.expect("open").forget();
            Ok::<_, StepError>(format!("charge {number}"))
        })
        .await?;
    *calls.at_the_end.lock().expect("no panic") += 1;
    calls.at_end.acquire().await.expect("open").forget();
    Ok((StatusCode::CREATED, charge))
}

/// An answer, as a client sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) is_replayed: bool,
}

impl Answer {
    /// Whether this is a problem document of this type.
    pub(crate) fn is_problem(&self, name: &str) -> bool {
        self.body.contains(&format!("#{name}\""))
    }
}

impl Service {
    /// Its calls and its handler return at once.
    pub(crate) fn new(store: &RedisStore) -> Self {
        let service = Self::gated(store);
        service
            .state
            .in_call
            .add_permits(Semaphore::MAX_PERMITS / 2);
        service.state.at_end.add_permits(Semaphore::MAX_PERMITS / 2);
        service
    }

    /// Its calls and its handler wait for permits.
    pub(crate) fn gated(store: &RedisStore) -> Self {
        Self {
            engine: Engine::new(store.steps()),
            state: Arc::new(Calls {
                keys: Mutex::default(),
                entered: Mutex::default(),
                in_call: Semaphore::new(0),
                at_end: Semaphore::new(0),
                at_the_end: Mutex::default(),
            }),
        }
    }

    /// Another process of this service: it shares the other service and its counts alone.
    pub(crate) fn beside(&self, store: &RedisStore) -> Self {
        Self {
            engine: Engine::new(store.steps()),
            state: Arc::clone(&self.state),
        }
    }

    pub(crate) async fn pay(&self, key: &str) -> Answer {
        let router = Router::new()
            .route("/pay", post(pay))
            .with_state(self.clone());
        let request = Request::post("/pay").header("idempotency-key", format!("\"{key}\""));
        let request = request.body(Body::empty()).expect("a request");
        let Ok(response) = router.oneshot(request).await;
        let is_replayed = response.headers().contains_key("idempotency-replayed");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 1 << 20)
            .await
            .expect("a body");
        Answer {
            status,
            body: String::from_utf8(body.to_vec()).expect("text"),
            is_replayed,
        }
    }

    /// Pays until the answer is another one than 409 or 503.
    pub(crate) async fn pay_until_answered(&self, key: &str) -> Answer {
        for _ in 0..400 {
            let answer = self.pay(key).await;
            if ![409, 503].contains(&answer.status) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no answer in 20 s");
    }

    pub(crate) fn entered(&self) -> usize {
        *self.state.entered.lock().expect("no panic")
    }

    /// How many handlers have come to their ends so far.
    pub(crate) fn at_the_end(&self) -> usize {
        *self.state.at_the_end.lock().expect("no panic")
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        self.state.keys.lock().expect("no panic").clone()
    }
}
