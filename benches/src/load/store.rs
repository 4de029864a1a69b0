use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use axum::http::StatusCode;
use idem_core::adapter::{DEFAULT_DEADLINE, Fingerprint, RequestParts};
use idem_core::store::Identity;
use idem_core::store::{Claim as _, ClaimRequest, Claimed, Draft, Opening, Settlement};
use idem_core::{Content, IdempotencyKey, Operation, State, Store};

use super::http::tenant;
use super::{Answer, Ask, Client};
use crate::business::{Business, NewPayment};
use crate::contestant::Contestant;
use crate::database::{Bank, PoolOf};

/// The size of an encoded response of the service, headers included.
const RESPONSE: [u8; 320] = [b'x'; 320];

/// A client of the database, without HTTP and without the engine.
pub(crate) struct StoreClient<C: Bank> {
    pool: PoolOf<C>,
    business: Business,
    way: Way<C>,
}

enum Way<C: Bank> {
    Bare,
    Floor,
    Claim(Arc<C::Store>),
}

impl<C: Bank> Clone for Way<C> {
    fn clone(&self) -> Self {
        match self {
            Self::Bare => Self::Bare,
            Self::Floor => Self::Floor,
            Self::Claim(store) => Self::Claim(Arc::clone(store)),
        }
    }
}

impl<C: Bank> StoreClient<C> {
    /// Clients of a contestant; `None` if the contestant has no store.
    pub(crate) fn team(
        contestant: Contestant,
        pool: &PoolOf<C>,
        business: Business,
        count: usize,
    ) -> Option<Vec<Self>> {
        let way = match contestant {
            Contestant::Bare => Way::Bare,
            Contestant::Floor => Way::Floor,
            // One store for all, because on SQLite the writers queue in the store.
            Contestant::Idem => Way::Claim(Arc::new(C::store(pool.clone()))),
            Contestant::Fused => Way::Claim(Arc::new(C::fused_store(pool.clone())?)),
            _ => return None,
        };
        let client = || Self {
            pool: pool.clone(),
            business,
            way: way.clone(),
        };
        Some((0..count).map(|_| client()).collect())
    }
}

/// When each stage of a request ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stages {
    /// The transaction has begun, and the key is claimed.
    pub(crate) begun: Instant,
    pub(crate) worked: Instant,
    /// The record is written, and the transaction committed.
    pub(crate) done: Instant,
}

impl<C: Bank> Client for StoreClient<C> {
    async fn call(&mut self, ask: &Ask) -> Result<Answer> {
        self.pay(ask).await?;
        Ok(Answer::Executed)
    }
}

impl<C: Bank> StoreClient<C> {
    /// Executes a request.
    ///
    /// # Errors
    ///
    /// If the key is not new, or the database fails.
    pub(crate) async fn pay(&self, ask: &Ask) -> Result<Stages> {
        let customer = i64::try_from(ask.customer)?;
        let (tenant, payment) = (tenant(customer), NewPayment::of(customer));
        let (begun, worked) = match &self.way {
            Way::Claim(store) => {
                attempt::<C>(store, self.business, &tenant, &ask.key, &payment).await?
            }
            way => {
                let mut transaction = self.pool.begin_with(C::BEGIN).await?;
                let begun = Instant::now();
                transaction.pay(self.business, &tenant, &payment).await?;
                let worked = Instant::now();
                if matches!(way, Way::Floor) {
                    transaction.record(&tenant, &ask.key, &RESPONSE).await?;
                }
                transaction.commit().await?;
                (begun, worked)
            }
        };
        Ok(Stages {
            begun,
            worked,
            done: Instant::now(),
        })
    }
}

async fn attempt<C: Bank>(
    store: &C::Store,
    business: Business,
    tenant: &str,
    key: &str,
    payment: &NewPayment,
) -> Result<(Instant, Instant)> {
    let operation = Operation::named("pay");
    let key = IdempotencyKey::parse(key.as_bytes())?;
    let identity = Identity::new(Some(tenant), &operation, &key);
    let asked = RequestParts {
        method: "POST",
        path: "/payments",
        query: None,
        raw: Some(b""),
    };
    let fingerprint = Fingerprint::new(asked, &Content::None, None);
    let opening = Opening {
        isolation: None,
        deadline: DEFAULT_DEADLINE,
        lease: None,
    };
    let request = ClaimRequest {
        identity: &identity,
        operation: &operation,
        fingerprint: &fingerprint,
        attempt: 1,
        ttl: Duration::from_hours(24),
        opening,
        seen: None,
        likely_taken: false,
    };
    let Claimed::Won(mut claim) = store.claim(request).await? else {
        bail!("a new key is taken");
    };
    let begun = Instant::now();
    claim.connection().pay(business, tenant, payment).await?;
    let worked = Instant::now();
    let written = OnceLock::new();
    let settlement = Settlement {
        keep_writes: true,
        record: Some(Draft {
            identity: &identity,
            operation: &operation,
            state: State::Succeeded,
            attempts: 1,
            status: StatusCode::CREATED,
            fingerprint: &fingerprint,
            response: Some(&RESPONSE),
            ttl: Duration::from_hours(24),
            replaces: None,
        }),
        written: &written,
    };
    store.settle(claim, settlement).await?;
    Ok((begun, worked))
}
