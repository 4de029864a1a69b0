use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{HandlerEnded, Shared, SharedOwner};
use crate::engine::{ClaimGuard, ClaimSlot};
use crate::store::Claim;
use crate::transaction::Borrowed;

/// Its connection counts writes. Its life says whether it was dropped.
#[derive(Debug)]
struct Counting {
    writes: u32,
    _life: Arc<()>,
}

impl Claim for Counting {
    type Connection = u32;

    fn connection(&mut self) -> &mut u32 {
        &mut self.writes
    }
}

fn share() -> (
    ClaimGuard<Counting>,
    ClaimSlot<Counting>,
    SharedOwner<u32>,
    Arc<()>,
) {
    let life = Arc::new(());
    let (mut guard, slot) = ClaimGuard::new(Counting {
        writes: 0,
        _life: Arc::clone(&life),
    });
    let owner = Borrowed::new(&mut guard).share();
    (guard, slot, owner, life)
}

async fn write(tx: &Shared<u32>) -> Result<(), HandlerEnded> {
    *tx.lock().await?.as_mut() += 1;
    Ok(())
}

#[tokio::test]
async fn o18_claim_comes_back_with_what_clones_wrote() {
    let (guard, slot, owner, _) = share();
    let clone = owner.clone();
    write(&owner).await.expect("runs");
    let task = tokio::spawn(async move { write(&clone).await.map(|()| clone) });
    let clone = task.await.expect("ends").expect("runs");
    assert!(slot.take().is_none());
    drop(owner);
    drop(guard);
    assert_eq!(slot.take().expect("is back").writes, 2);
    assert_eq!(write(&clone).await, Err(HandlerEnded));
}

#[tokio::test]
async fn o18_claim_comes_back_whichever_guard_is_dropped_first() {
    let (guard, slot, owner, _) = share();
    drop(guard);
    assert!(slot.take().is_none());
    drop(owner);
    assert!(slot.take().is_some());
}

#[tokio::test]
async fn o18_claim_that_is_locked_at_the_end_is_dropped_by_its_holder() {
    let (guard, slot, owner, life) = share();
    let clone = owner.clone();
    let mut locked = clone.lock().await.expect("runs");
    let waiting = tokio::spawn({
        let clone = clone.clone();
        async move { write(&clone).await }
    });
    tokio::task::yield_now().await;
    drop((owner, guard));
    let waited = timeout(Duration::from_secs(5), waiting).await;
    assert_eq!(waited.expect("is woken").expect("ends"), Err(HandlerEnded));
    assert!(slot.take().is_none());
    drop(slot);
    *locked.as_mut() += 1;
    assert_eq!(Arc::strong_count(&life), 2);
    drop(locked);
    assert_eq!(Arc::strong_count(&life), 1);
    assert_eq!(write(&clone).await, Err(HandlerEnded));
}

#[tokio::test]
async fn o18_lock_that_nobody_waits_for_any_longer_is_free() {
    let (_guard, _slot, owner, _) = share();
    let locked = owner.lock().await.expect("runs");
    let waiting = timeout(Duration::from_millis(10), owner.lock()).await;
    waiting.expect_err("is locked");
    drop(locked);
    write(&owner).await.expect("runs");
}
