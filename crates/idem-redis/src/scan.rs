//! All keys of a scope, or of the store.

use std::collections::HashMap;

use futures_util::future::try_join_all;
use idem_core::store::Operation;
use idem_core::store::{
    Run, ScopeDigest, State, Stats, StepRow, StoreError, Tally, Timestamp, Unreadable,
};
use redis::{FromRedisValue, RedisResult, Value, cmd};

use crate::hash::Hash;
use crate::link::{Failure, Link, Node};
use crate::scripts;
use crate::send::{Failed, store_error, unavailable};
use crate::store::{DURABLE_LINKS, RedisStore, hex};

/// How many keys are read at a time.
const BATCH: usize = 500;

impl RedisStore {
    pub(crate) async fn erase_scope(&self, scope: &ScopeDigest) -> Result<u64, StoreError> {
        let mut erased = 0;
        let mut scan = Scan::new(self, Some(scope)).await?;
        while let Some(keys) = scan.next().await? {
            // Those on one connection wait for replicas one after the other.
            let most = if self.replicas() == 0 {
                BATCH
            } else {
                DURABLE_LINKS
            };
            for keys in keys.chunks(most) {
                let deletions = keys.iter().map(|key| self.delete(key));
                erased += try_join_all(deletions).await?.into_iter().sum::<u64>();
            }
        }
        Ok(erased)
    }

    pub(crate) async fn count(&self, scope: Option<&ScopeDigest>) -> Result<Stats, StoreError> {
        let mut tallies = HashMap::new();
        let start = self.read(&scripts::SUMMARY, &self.prefix).await?;
        let mut now = start.hash.now;
        let mut scan = Scan::new(self, scope).await?;
        while let Some(keys) = scan.next().await? {
            for (_, hash) in self.summaries(keys).await? {
                now = hash.now;
                if !hash.is_run() {
                    add(&mut tallies, &hash);
                }
            }
        }
        Ok(Stats {
            tallies: tallies.into_values().collect(),
            now: Timestamp(now),
        })
    }

    pub(crate) async fn oldest_runs(
        &self,
        limit: u32,
    ) -> Result<Vec<(Run, Vec<StepRow>)>, StoreError> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let mut runs = Vec::new();
        let mut scan = Scan::new(self, None).await?;
        while let Some(keys) = scan.next().await? {
            for (key, hash) in self.summaries(keys).await? {
                if hash.is_run() {
                    runs.push((hash.number::<i64>("at")?, key));
                }
            }
        }
        runs.sort_unstable();
        runs.dedup();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let mut oldest = Vec::new();
        for (_, key) in runs {
            if oldest.len() == limit {
                break;
            }
            let identity = key.strip_prefix(&*self.prefix).and_then(unhex);
            let identity = identity.ok_or(Unreadable::new("the key of a run"))?;
            oldest.extend(self.run_of(&key, &identity).await?);
        }
        Ok(oldest)
    }

    async fn delete(&self, key: &str) -> Result<u64, StoreError> {
        let unlink = cmd("UNLINK").arg(key).to_owned();
        let wanted = self.replicas();
        if wanted == 0 {
            return read(self.links.shared.send(&unlink, self.timeout).await);
        }
        let both = self
            .durable_link()
            .send_and_wait(key, &unlink, wanted, self.timeout);
        let (answer, acknowledged) = both.await.map_err(unavailable)?;
        if acknowledged < i64::from(wanted) {
            let failed = Failed::NotReplicated {
                acknowledged,
                wanted,
            };
            return Err(failed.into_store_error());
        }
        read(Ok(answer))
    }

    async fn summary(&self, key: String) -> Result<(String, Hash), StoreError> {
        let reply = self.read(&scripts::SUMMARY, &key).await?;
        Ok((key, reply.hash))
    }

    /// What is needed of many keys; those that are gone in the meantime are left out.
    async fn summaries(&self, keys: Vec<String>) -> Result<Vec<(String, Hash)>, StoreError> {
        let summaries = keys.into_iter().map(|key| self.summary(key));
        let mut summaries = try_join_all(summaries).await?;
        summaries.retain(|(_, hash)| !hash.is_empty());
        Ok(summaries)
    }
}

/// Visits each key that is there from the beginning to the end, once or more.
struct Scan<'a> {
    store: &'a RedisStore,
    anew: Option<Link>,
    pattern: String,
    /// The servers that are left, the present one last.
    nodes: Vec<Node>,
    cursor: u64,
}

impl<'a> Scan<'a> {
    async fn new(store: &'a RedisStore, scope: Option<&ScopeDigest>) -> Result<Self, StoreError> {
        let half = scope.map(|scope| hex(&scope.first()[..16]));
        let anew = store.links.shared.anew();
        let link = anew.as_ref().unwrap_or(&store.links.shared);
        let nodes = link.nodes(store.timeout).await;
        Ok(Self {
            store,
            anew,
            pattern: format!("{}{}*", escaped(&store.prefix), half.unwrap_or_default()),
            nodes: nodes.map_err(unavailable)?,
            cursor: 0,
        })
    }

    /// The next keys; `None` after the last ones.
    async fn next(&mut self) -> Result<Option<Vec<String>>, StoreError> {
        let Some(node) = self.nodes.last() else {
            return Ok(None);
        };
        let mut scan = cmd("SCAN");
        scan.arg(self.cursor).arg("MATCH").arg(&self.pattern);
        scan.arg("COUNT").arg(BATCH);
        let link = self.anew.as_ref().unwrap_or(&self.store.links.shared);
        let keys;
        (self.cursor, keys) = read(link.send_to(node, &scan, self.store.timeout).await)?;
        if self.cursor == 0 {
            self.nodes.pop();
        }
        Ok(Some(keys))
    }
}

fn read<T: FromRedisValue>(answer: Result<Value, Failure>) -> Result<T, StoreError> {
    let answer = answer.map_err(unavailable)?;
    let answer: RedisResult<T> = T::from_redis_value(answer).map_err(Into::into);
    answer.map_err(store_error)
}

/// Counts a record, also one that can't be read.
fn add(tallies: &mut HashMap<(String, Option<i16>), Tally>, hash: &Hash) {
    let operation = hash.text("operation").unwrap_or_default().to_owned();
    let code = hash.number("state").ok();
    let settled_at = Timestamp(hash.number("at").unwrap_or_default());
    let expires_at = Timestamp(hash.number("expires_at").unwrap_or_default());
    let tally = tallies
        .entry((operation, code))
        .or_insert_with_key(|(operation, code)| Tally {
            operation: Operation::named(operation),
            state: code.and_then(State::from_code),
            records: 0,
            expired: 0,
            attempts: 0,
            response_bytes: 0,
            oldest_settled: settled_at,
            newest_settled: settled_at,
            oldest_expired: None,
        });
    tally.records += 1;
    tally.attempts += hash.number::<u64>("attempts").unwrap_or_default();
    tally.response_bytes += hash.number::<u64>("bytes").unwrap_or_default();
    tally.oldest_settled = tally.oldest_settled.min(settled_at);
    tally.newest_settled = tally.newest_settled.max(settled_at);
    if expires_at.0 <= hash.now {
        tally.expired += 1;
        let oldest = tally.oldest_expired.unwrap_or(expires_at);
        tally.oldest_expired = Some(oldest.min(expires_at));
    }
}

/// A prefix that stands for itself in a pattern.
fn escaped(prefix: &str) -> String {
    let mut pattern = String::new();
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\' | '^') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    let pairs = digits?;
    (pairs.len() == 64).then(|| pairs.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written() {
        let identity: Vec<u8> = (0..32).map(|byte| byte * 8).collect();
        assert_eq!(unhex(&hex(&identity)), Some(identity));
        for other in ["", "0", &"x".repeat(64), &"0".repeat(62)] {
            assert_eq!(unhex(other), None, "{other}");
        }
    }

    #[test]
    fn a_prefix_stands_for_itself() {
        assert_eq!(escaped("a*[b]?\\:"), "a\\*\\[b\\]\\?\\\\:");
    }
}
