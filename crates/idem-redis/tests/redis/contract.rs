//! The contract of runs.

use idem_core::StepStore;
use idem_core::store::contract::runs::RunSubject;
use idem_core::store::{RunStore as _, ScopeDigest};
use idem_redis::{Redis, RedisStore};

use crate::place;

idem_core::run_contract!(Fresh::create().await);

struct Fresh {
    store: RedisStore,
    steps: StepStore<Redis>,
}

impl Fresh {
    async fn create() -> Self {
        let store = place::store().await;
        let steps = store.steps();
        Self { store, steps }
    }
}

impl RunSubject for Fresh {
    type Connection = Redis;

    fn store(&self) -> &StepStore<Redis> {
        &self.steps
    }

    async fn end(self) {
        for scope in ["acme", "another"] {
            let scope = ScopeDigest::new(Some(scope));
            self.store.erase(&scope).await.expect("erases");
        }
    }
}
