//! The contract of runs, in scripts.

use std::time::Duration;

use idem_core::store::{
    ClaimRequest, Claimed, Draft, Forgotten, Found, Identity, Lease, Purged, Run, RunStore,
    ScopeDigest, SettleError, Stats, StepKind, StepRow, StoreError, Times, Timestamp, Unreadable,
};
use idem_core::{Resolved, StepError};

use crate::hash::{self, Hash, Reply};
use crate::scripts::{self, Script};
use crate::send::{Effort, Failed};
use crate::store::RedisStore;

impl RunStore for RedisStore {
    async fn claim(
        &self,
        request: ClaimRequest<'_>,
        lease: &mut Lease,
    ) -> Result<Claimed<Vec<StepRow>>, StoreError> {
        let key = self.key(request.identity);
        let (seen_attempts, seen_at) = request.seen.map_or_else(Default::default, |seen| {
            (number(seen.attempts), number(seen.settled_at.0))
        });
        let arguments = [
            lease.holder.as_bytes().to_vec(),
            micros(lease.duration),
            micros(request.ttl.max(lease.duration)),
            request.operation.as_str().into(),
            request.fingerprint.to_bytes().to_vec(),
            number(request.attempt),
            seen_attempts,
            seen_at,
            number(u8::from(self.replicas() > 0)),
        ];
        let claimed = self.write(&scripts::CLAIM, &key, &arguments, Effort::Request);
        let Reply { code, hash } = match claimed.await {
            Ok(reply) => reply,
            Err(failed @ Failed::NotReplicated { .. }) => {
                self.abandon(&key, lease).await;
                return Err(failed.into_store_error());
            }
            Err(failed) => return Err(failed.into_store_error()),
        };
        match &*code {
            "won" => match (hash.number("epoch"), hash.steps()) {
                (Ok(epoch), Ok(steps)) => {
                    lease.epoch = epoch;
                    Ok(Claimed::Won(steps))
                }
                (Err(unreadable), _) | (_, Err(unreadable)) => {
                    // Otherwise a retry would be told that an attempt is in flight.
                    self.abandon(&key, lease).await;
                    Err(unreadable.into())
                }
            },
            "leased" => {
                let found = hash.found(request.identity)?;
                let run = hash.run(request.identity.as_bytes())?;
                Ok(if run.fingerprint()?.matches(request.fingerprint) {
                    Claimed::InFlight
                } else {
                    Claimed::Changed(Some(found))
                })
            }
            _ if hash.is_empty() => Ok(Claimed::Changed(None)),
            _ => Ok(Claimed::Changed(Some(hash.found(request.identity)?))),
        }
    }

    async fn renew(&self, lease: &Lease) -> Result<(), StepError> {
        let arguments = held(lease, [micros(lease.duration)]);
        // The next renewal comes soon, and a late one is as good.
        let key = self.key(&lease.identity);
        let renewed = self.send(&scripts::RENEW, &key, &arguments, Effort::Attempt);
        is_done(renewed.await)
    }

    async fn record(
        &self,
        lease: &Lease,
        name: &str,
        kind: StepKind,
        result: Option<Vec<u8>>,
    ) -> Result<(), StepError> {
        let result = hash::result(result.as_deref());
        let step = [
            micros(lease.duration),
            name.into(),
            number(kind.code()),
            result,
        ];
        self.step(&scripts::RECORD, lease, step).await
    }

    async fn complete(&self, lease: &Lease, name: &str, result: Vec<u8>) -> Result<(), StepError> {
        let result = hash::result(Some(&result));
        let step = [micros(lease.duration), name.into(), result];
        self.step(&scripts::COMPLETE, lease, step).await
    }

    async fn finish(&self, lease: &Lease, draft: Draft<'_>) -> Result<Times, SettleError> {
        let record = [
            micros(draft.ttl),
            draft.operation.as_str().into(),
            draft.fingerprint.to_bytes().to_vec(),
            number(draft.state.code()),
            number(draft.attempts),
            number(draft.status.as_u16()),
        ];
        let mut arguments = held(lease, record);
        arguments.extend(draft.response.map(<[u8]>::to_vec));
        let key = self.key(draft.identity);
        let finished = self.write(&scripts::FINISH, &key, &arguments, Effort::Attempt);
        let Reply { code, hash } = finished.await.map_err(Failed::into_settle_error)?;
        if code != "done" {
            return Err(SettleError::Superseded);
        }
        times(&hash).map_err(|unreadable| SettleError::Unknown(unreadable.into()))
    }

    async fn release(&self, lease: &Lease, forget: bool) -> Result<(), SettleError> {
        let arguments = held(lease, [number(u8::from(forget))]);
        let key = self.key(&lease.identity);
        let released = self.send(&scripts::RELEASE, &key, &arguments, Effort::Attempt);
        match released.await.map_err(Failed::into_settle_error)? {
            Reply { code, .. } if code == "done" => Ok(()),
            _ => Err(SettleError::Superseded),
        }
    }

    async fn find(&self, identity: &Identity) -> Result<Option<Found>, StoreError> {
        let Reply { hash, .. } = self.read(&scripts::READ, &self.key(identity)).await?;
        if hash.is_empty() || hash.is_run() {
            return Ok(None);
        }
        Ok(Some(hash.found(identity)?))
    }

    /// Keys expire on the server, so there is nothing to delete.
    async fn purge_expired(&self, _: u32) -> Result<Purged, StoreError> {
        Ok(Purged::default())
    }

    async fn erase(&self, scope: &ScopeDigest) -> Result<u64, StoreError> {
        self.erase_scope(scope).await
    }

    async fn forget(&self, identity: &Identity) -> Result<Forgotten, StoreError> {
        let key = self.key(identity);
        let arguments = [number(u8::from(self.replicas() > 0))];
        let forgotten = self.write(&scripts::FORGET, &key, &arguments, Effort::Once);
        let reply = forgotten.await.map_err(Failed::into_store_error)?;
        Ok(match &*reply.code {
            "done" => Forgotten::Deleted,
            "leased" => Forgotten::InFlight,
            _ => Forgotten::Missing,
        })
    }

    async fn tally(&self, scope: Option<&ScopeDigest>) -> Result<Stats, StoreError> {
        self.count(scope).await
    }

    async fn run(&self, identity: &Identity) -> Result<Option<(Run, Vec<StepRow>)>, StoreError> {
        self.run_of(&self.key(identity), identity.as_bytes()).await
    }

    async fn runs(&self, limit: u32) -> Result<Vec<(Run, Vec<StepRow>)>, StoreError> {
        self.oldest_runs(limit).await
    }

    async fn resolve(
        &self,
        identity: &Identity,
        name: &str,
        result: Option<Vec<u8>>,
    ) -> Result<Resolved, StoreError> {
        let mut arguments = vec![name.into()];
        arguments.extend(result.map(|result| hash::result(Some(&result))));
        let key = self.key(identity);
        let resolved = self.write(&scripts::RESOLVE, &key, &arguments, Effort::Once);
        let reply = resolved.await.map_err(Failed::into_store_error)?;
        Ok(match &*reply.code {
            "done" => Resolved::Done,
            "leased" => Resolved::InFlight,
            _ => Resolved::Missing,
        })
    }
}

impl RedisStore {
    async fn step<const N: usize>(
        &self,
        script: &Script,
        lease: &Lease,
        step: [Vec<u8>; N],
    ) -> Result<(), StepError> {
        let (key, arguments) = (self.key(&lease.identity), held(lease, step));
        is_done(self.write(script, &key, &arguments, Effort::Attempt).await)
    }

    /// Ends the lease of a claim that counts as not made. The claim may be the first one, or not: the run stays,
    /// and binds its key.
    async fn abandon(&self, key: &str, lease: &Lease) {
        let read = self.read(&scripts::READ, key).await;
        let epoch = read.ok().and_then(|reply| reply.hash.number("epoch").ok());
        if let Some(epoch) = epoch {
            // Refused if another attempt has the run.
            let lease = Lease { epoch, ..*lease };
            let arguments = held(&lease, [number(0)]);
            let released = self.send(&scripts::RELEASE, key, &arguments, Effort::Request);
            if let Err(error) = released.await {
                tracing::warn!(%error, "the lease of a claim that failed stays until its end");
            }
        }
    }

    /// The run of a key, unless it has expired.
    pub(crate) async fn run_of(
        &self,
        key: &str,
        identity: &[u8],
    ) -> Result<Option<(Run, Vec<StepRow>)>, StoreError> {
        let Reply { hash, .. } = self.read(&scripts::READ, key).await?;
        if !hash.is_run() {
            return Ok(None);
        }
        let run = hash.run(identity)?;
        if run.is_expired() {
            return Ok(None);
        }
        Ok(Some((run, hash.steps()?)))
    }
}

/// The proof that the attempt holds the run, and more arguments.
fn held<const N: usize>(lease: &Lease, more: [Vec<u8>; N]) -> Vec<Vec<u8>> {
    let holder = lease.holder.as_bytes().to_vec();
    let mut arguments = vec![holder, number(lease.epoch)];
    arguments.extend(more);
    arguments
}

fn is_done(answer: Result<Reply, Failed>) -> Result<(), StepError> {
    match answer.map_err(Failed::into_step_error)? {
        Reply { code, .. } if code == "done" => Ok(()),
        _ => Err(StepError::Lost),
    }
}

fn times(hash: &Hash) -> Result<Times, Unreadable> {
    Ok(Times {
        settled_at: Timestamp(hash.number("at")?),
        expires_at: Timestamp(hash.number("expires_at")?),
    })
}

fn number(number: impl ToString + Copy) -> Vec<u8> {
    number.to_string().into()
}

fn micros(duration: Duration) -> Vec<u8> {
    number(duration.as_micros())
}
