//! The contract of runs: on a server, and where each command is executed twice.

use idem_core::StepStore;
use idem_core::store::contract::runs::RunSubject;
use idem_core::store::{RunStore as _, ScopeDigest};
use idem_redis::{Redis, RedisStore};

use crate::place;
use crate::proxy::{Fault, Proxy};

idem_core::run_contract!(Fresh::of(place::store().await));

/// Of two answers the first one arrives.
mod first_of_two {
    idem_core::run_contract!(super::Fresh::behind(super::Fault::FirstOfTwo).await);
}

/// Of two answers the second one arrives. The checks that are left out are of operators' commands, whose second
/// answer says that there is nothing left to do.
mod second_of_two {
    idem_core::run_contract! { super::Fresh::behind(super::Fault::SecondOfTwo).await;
        a_run_is_claimed_by_one_holder
        a_run_binds_its_key
        a_run_is_taken_over_after_its_lease
        a_renewed_lease_holds
        each_write_renews_the_lease
        a_late_holder_writes_nothing
        another_holder_of_the_same_epoch_writes_nothing
        a_result_is_never_overwritten
        an_intent_gets_one_result
        a_run_is_finished_by_its_holder_alone
        a_released_run_goes_on_at_once
        an_expired_run_is_forgotten_with_its_steps
        an_aborted_attempt_leaves_a_run_that_goes_on
    }
}

struct Fresh {
    store: RedisStore,
    steps: StepStore<Redis>,
    _proxy: Option<Proxy>,
}

impl Fresh {
    fn of(store: RedisStore) -> Self {
        let steps = store.steps();
        Self {
            store,
            steps,
            _proxy: None,
        }
    }

    async fn behind(fault: Fault) -> Self {
        let proxy = Proxy::to(&place::url()).await;
        let store = RedisStore::connect(&proxy.url()).await.expect("connects");
        proxy.set(fault);
        Self {
            _proxy: Some(proxy),
            ..Self::of(store.with_prefix(&place::prefix()))
        }
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
