//! What relays publish.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use idem_core::StoreError;
use idem_outbox::{Failure, Message, OutboxStore, Relay, Round};
use idem_tests::Database;
use tokio::sync::{Barrier, Notify};

use crate::on_all;
use crate::site::{Broker, Site, until};

on_all![
    two_relays_publish_each_message_once,
    relay_that_dies_leaves_its_messages_to_the_next,
    failures_are_delayed,
    message_that_fails_too_often_is_a_dead_letter,
    failure_that_lasts_is_a_dead_letter_at_once,
    publication_that_panics_or_hangs_has_failed,
    push_wakes_a_relay,
];

fn round(published: u32, failed: u32, dead: u32) -> Round {
    let mut round = Round::default();
    (round.published, round.failed, round.dead) = (published, failed, dead);
    round
}

async fn two_relays_publish_each_message_once<D: Database<Store: OutboxStore>>() {
    let site = Site::<D>::new().await;
    let ids = site.push(100).await;
    let broker = Broker::default();
    // Both have a batch at the same time.
    let barrier = Arc::new(Barrier::new(2));
    let mut relays = Vec::new();
    for _ in 0..2 {
        let (broker, barrier) = (broker.clone(), Arc::clone(&barrier));
        let is_first = AtomicBool::new(true);
        let publish = async move |message: Message| {
            if is_first.swap(false, Ordering::Relaxed) {
                barrier.wait().await;
            }
            broker.keep(message);
            Ok(())
        };
        let relay = Relay::new(site.instance().await, publish).with_batch(7);
        relays.push(tokio::spawn(async move { relay.run().await }));
    }
    until(async || site.counts().await.0 == 0).await;
    assert_eq!(broker.ids(), ids);
    for relay in relays {
        relay.abort();
        assert!(relay.await.unwrap_err().is_cancelled());
    }
    site.remove().await;
}

async fn relay_that_dies_leaves_its_messages_to_the_next<D: Database<Store: OutboxStore>>() {
    let site = Site::<D>::new().await;
    let ids = site.push(3).await;
    let broker = Broker::default();
    let is_published = Notify::new();
    let hanging = Relay::new(site.outbox.clone(), async |message| {
        broker.keep(message);
        if broker.messages().len() == 3 {
            is_published.notify_one();
        }
        std::future::pending().await
    });
    let hanging = hanging.with_timeout(Duration::from_secs(1));
    tokio::select! {
        ended = hanging.run_once() => panic!("{ended:?}"),
        () = is_published.notified() => {}
    }
    assert_eq!(broker.ids(), ids);
    let next = Relay::new(site.instance().await, async |message| {
        broker.keep(message);
        Ok(())
    });
    assert_eq!(next.run_once().await.unwrap(), round(0, 0, 0), "a lease");
    until(async || next.run_once().await.unwrap().published == 3).await;
    let twice: Vec<String> = ids.iter().flat_map(|id| [id.clone(), id.clone()]).collect();
    assert_eq!(broker.ids(), twice);
    assert_eq!(site.counts().await, (0, 0));
    site.remove().await;
}

/// A relay whose broker is down, with these delays.
macro_rules! failing {
    ($outbox:expr, $first:expr, $longest:expr) => {
        Relay::new($outbox, async |_| {
            let cause = "x".parse::<u8>().unwrap_err();
            Err(Failure::from(StoreError::Unavailable(cause.into())))
        })
        .with_delays($first, $longest)
    };
}

async fn failures_are_delayed<D: Database<Store: OutboxStore>>() {
    let site = Site::<D>::new().await;
    site.push(2).await;
    let hour = Duration::from_hours(1);
    let relay = failing!(site.outbox.clone(), hour, hour);
    assert_eq!(relay.run_once().await.unwrap(), round(0, 2, 0));
    assert_eq!(relay.run_once().await.unwrap(), round(0, 0, 0));
    assert_eq!(site.counts().await, (2, 0));
    site.remove().await;
}

async fn message_that_fails_too_often_is_a_dead_letter<D: Database<Store: OutboxStore>>() {
    let site = Site::<D>::new().await;
    let ids = site.push(1).await;
    let short = Duration::from_millis(20);
    let relay = failing!(site.outbox.clone(), short, short).with_max_failures(3);
    let mut rounds = Vec::new();
    until(async || {
        let done = relay.run_once().await.unwrap();
        if done != round(0, 0, 0) {
            rounds.push(done);
        }
        site.counts().await == (0, 1)
    })
    .await;
    assert_eq!(rounds, [round(0, 1, 0), round(0, 1, 0), round(0, 0, 1)]);
    assert_eq!(relay.run_once().await.unwrap(), round(0, 0, 0));

    let letters = site.outbox.dead_letters(10).await.unwrap();
    let [letter] = &letters[..] else {
        panic!("{letters:?}")
    };
    assert_eq!(letter.message.id, ids[0]);
    assert_eq!(letter.message.failures, 3);
    assert_eq!(&*letter.message.payload, b"0");
    assert!(letter.died_at > letter.message.pushed_at);
    assert_eq!(
        letter.error,
        "the database is unavailable: invalid digit found in string"
    );

    assert!(!site.outbox.revive("another").await.unwrap());
    assert!(site.outbox.revive(&ids[0]).await.unwrap());
    assert!(!site.outbox.revive(&ids[0]).await.unwrap(), "it lives");
    assert!(!site.outbox.discard(&ids[0]).await.unwrap(), "it lives");
    assert_eq!(site.counts().await, (1, 0));
    let relay = Relay::new(site.outbox.clone(), async |message: Message| {
        assert_eq!(message.failures, 0);
        Ok(())
    });
    assert_eq!(relay.run_once().await.unwrap(), round(1, 0, 0));
    assert_eq!(site.counts().await, (0, 0));
    site.remove().await;
}

async fn failure_that_lasts_is_a_dead_letter_at_once<D: Database<Store: OutboxStore>>() {
    let site = Site::<D>::new().await;
    let ids = site.push(3).await;
    let reason = "no such topic: 'ü' \\ \" \0 and more";
    let relay = Relay::new(site.outbox.clone(), async |_| Err(Failure::dead(reason)));
    assert_eq!(relay.run_once().await.unwrap(), round(0, 0, 3));
    let letters = site.outbox.dead_letters(10).await.unwrap();
    assert!(
        letters
            .iter()
            .all(|letter| letter.error == "no such topic: 'ü' \\ \" ")
    );
    assert_eq!(site.outbox.dead_letters(2).await.unwrap().len(), 2);
    assert!(site.outbox.discard(&ids[0]).await.unwrap());
    assert_eq!(site.counts().await, (0, 2));
    assert_eq!(site.outbox.revive_all().await.unwrap(), 2);
    assert_eq!(site.counts().await, (2, 0));
    site.remove().await;
}

async fn publication_that_panics_or_hangs_has_failed<D: Database<Store: OutboxStore>>() {
    let site = Site::<D>::new().await;
    site.push(3).await;
    let relay = Relay::new(
        site.outbox.clone(),
        async |message: Message| match &*message.payload {
            b"0" => panic!("a panic of the publication"),
            b"1" => std::future::pending().await,
            _ => Ok(()),
        },
    );
    let relay = relay
        .with_timeout(Duration::from_millis(200))
        .with_max_failures(1);
    assert_eq!(relay.run_once().await.unwrap(), round(1, 0, 2));
    let letters = site.outbox.dead_letters(10).await.unwrap();
    let mut errors: Vec<_> = letters.into_iter().map(|letter| letter.error).collect();
    errors.sort();
    let expected = ["the publication panicked", "the publication took too long"];
    assert_eq!(errors, expected);
    site.remove().await;
}

async fn push_wakes_a_relay<D: Database<Store: OutboxStore>>() {
    let site = Site::<D>::new().await;
    let broker = Broker::default();
    let publish = {
        let broker = broker.clone();
        async move |message| {
            broker.keep(message);
            Ok(())
        }
    };
    let relay = Relay::new(site.outbox.clone(), publish);
    let relay = relay.with_poll_interval(Duration::from_hours(1));
    let running = tokio::spawn(async move { relay.run().await });
    let ids = site.push(5).await;
    until(async || broker.ids() == ids).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    site.remove().await;
}
