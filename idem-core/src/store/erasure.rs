//! An erasure that ends when nothing is left.

use std::future::Future;
use std::time::Duration;

use super::StoreError;
use crate::record::Timestamp;

/// One try of an erasure.
#[derive(Debug, Clone, Copy)]
pub(super) struct Erasure {
    pub(super) erased: u64,
    /// The records that are left and were settled until then.
    pub(super) left: u64,
    pub(super) until: Timestamp,
}

/// The pauses of an erasure while other transactions hold records: a duplicate that reads one does so
/// for a moment. They add up to five seconds.
fn pauses() -> impl Iterator<Item = Duration> {
    let milliseconds = [2, 10, 50].into_iter().chain([250; 20]);
    milliseconds.map(Duration::from_millis)
}

/// Erases until nothing is left that was settled before the first try: `erase` gets the time of that one.
pub(super) async fn erase_all<F>(erase: impl Fn(Option<Timestamp>) -> F) -> Result<u64, StoreError>
where
    F: Future<Output = Result<Erasure, StoreError>>,
{
    let first = erase(None).await?;
    let Erasure {
        mut erased,
        mut left,
        until,
    } = first;
    for pause in pauses() {
        if left == 0 {
            break;
        }
        tokio::time::sleep(pause).await;
        let again = erase(Some(until)).await?;
        erased += again.erased;
        left = again.left;
    }
    match left {
        0 => Ok(erased),
        left => Err(StoreError::Incomplete { erased, left }),
    }
}
