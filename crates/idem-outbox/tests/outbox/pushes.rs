//! What a handler pushes.

use std::collections::BTreeSet;

use idem_core::once::{Error, Failure, Once};
use idem_core::{Attempt, StoreError};
use idem_outbox::{Outbox, OutboxStore, PushError, Relay};
use idem_tests::{Choices, Database, Wires};

use crate::on_all;
use crate::site::{Broker, Ended, Site};

on_all![
    push_is_undone_with_the_handler,
    retried_attempt_writes_the_same_ids,
    duplicate_request_pushes_nothing,
    name_is_used_once,
    content_arrives_as_it_was,
    table_is_checked,
];

async fn push_is_undone_with_the_handler<D: Database<Store: OutboxStore>>() {
    let site = Site::<D>::new().await;
    let pushing = async |fails: Option<Failure<PushError, String>>| {
        let push = async |tx: &mut D::Connection, attempt: &Attempt| -> Ended<()> {
            site.outbox.push(tx, attempt, "orders", "a").await?;
            fails.map_or(Ok(()), Err)
        };
        site.order("a", push).await
    };
    let again = pushing(Some(Failure::Again(PushError::Unnamed))).await;
    assert!(matches!(again, Err(Error::Again(_))), "{again:?}");
    assert_eq!(site.counts().await, (0, 0));
    assert_eq!(pushing(None).await.unwrap(), Once::Fresh(()));
    assert_eq!(site.counts().await, (1, 0));
    site.remove().await;
}

async fn retried_attempt_writes_the_same_ids<D: Database<Store: OutboxStore>>() {
    let site = Site::<D>::new().await;
    let mut attempts = Vec::new();
    for fails in [true, true, false] {
        let mut ids = Vec::new();
        let push = async |tx: &mut D::Connection, attempt: &Attempt| -> Ended<()> {
            let topics = ["orders", "orders", "mail"];
            for topic in topics {
                ids.push(site.outbox.push(tx, attempt, topic, "a").await?);
            }
            for line in 0..2 {
                let named = ("orders", line);
                ids.push(site.outbox.push(tx, attempt, named, "a").await?);
            }
            let fail = || Err(Failure::Again(PushError::Unnamed));
            if fails { fail() } else { Ok(()) }
        };
        let ended = site.order("a", push).await;
        assert_eq!(ended.is_err(), fails, "{ended:?}");
        attempts.push(ids);
    }
    let other = site.push(1).await.remove(0);
    let [first, second, third] = &attempts[..] else {
        panic!("three attempts")
    };
    assert_eq!((first, first), (second, third));
    let different: BTreeSet<&String> = first.iter().chain([&other]).collect();
    assert_eq!(different.len(), 6, "{attempts:?} {other}");
    assert!(first.iter().all(|id| id.len() == 32));

    let broker = Broker::default();
    let relay = Relay::new(site.outbox.clone(), async |message| {
        broker.keep(message);
        Ok(())
    });
    assert_eq!(relay.run_once().await.unwrap().published, 6);
    let published: BTreeSet<String> = broker.ids().into_iter().collect();
    assert_eq!(published.iter().collect::<BTreeSet<_>>(), different);
    site.remove().await;
}

async fn duplicate_request_pushes_nothing<D: Database<Store: OutboxStore>>() {
    let site = Site::<D>::new().await;
    for expected in [Once::Fresh(7), Once::Replayed(7)] {
        let push = async |tx: &mut D::Connection, attempt: &Attempt| -> Ended<u8> {
            site.outbox.push(tx, attempt, "orders", "a").await?;
            Ok(7)
        };
        assert_eq!(site.order("a", push).await.unwrap(), expected);
        assert_eq!(site.counts().await, (1, 0));
    }
    site.remove().await;
}

async fn name_is_used_once<D: Database<Store: OutboxStore>>() {
    let site = Site::<D>::new().await;
    let push = async |tx: &mut D::Connection, attempt: &Attempt| -> Ended<()> {
        let outbox = &site.outbox;
        outbox.push(tx, attempt, ("orders", "paid"), "a").await?;
        outbox.push(tx, attempt, ("mail", "paid"), "a").await?;
        outbox.push(tx, attempt, ("orders", "paid"), "b").await?;
        Ok(())
    };
    let failed = site.order("a", push).await;
    let taken = matches!(&failed, Err(Error::Again(PushError::Taken { id })) if id.len() == 32);
    assert!(taken, "{failed:?}");
    assert_eq!(site.counts().await, (0, 0));
    site.remove().await;
}

async fn content_arrives_as_it_was<D: Database<Store: OutboxStore>>() {
    let site = Site::<D>::new().await;
    let every_byte: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let push = async |tx: &mut D::Connection, attempt: &Attempt| -> Ended<()> {
        let outbox = &site.outbox;
        let topic = "Bestellungen/ü'\\\"";
        outbox.push_bytes(tx, attempt, topic, &every_byte).await?;
        outbox.push_bytes(tx, attempt, topic, b"").await?;
        outbox.push(tx, attempt, topic, &["ä"]).await?;
        Ok(())
    };
    site.order("a", push).await.unwrap();
    let broker = Broker::default();
    let relay = Relay::new(site.outbox.clone(), async |message| {
        broker.keep(message);
        Ok(())
    });
    relay.run_once().await.unwrap();
    let mut messages = broker.messages();
    messages.sort_by_key(|message| message.payload.len());
    let payloads: Vec<&[u8]> = messages.iter().map(|message| &*message.payload).collect();
    assert_eq!(payloads, [&b""[..], "[\"ä\"]".as_bytes(), &every_byte]);
    assert!(
        messages
            .iter()
            .all(|one| one.topic == "Bestellungen/ü'\\\"")
    );
    site.remove().await;
}

async fn table_is_checked<D: Database<Store: OutboxStore>>() {
    let database = D::create().await;
    let pool = database.connect(Wires::default()).await;
    let store = D::store(pool, Choices::default()).await.unwrap();
    let outbox = Outbox::new(store);
    let missing = outbox.check().await;
    let is_missing = matches!(missing, Err(StoreError::Misconfigured(_)));
    assert!(is_missing, "{missing:?}");
    let migrations = futures_util::future::join_all((0..4).map(|_| outbox.migrate()));
    for migrated in migrations.await {
        migrated.unwrap();
    }
    outbox.check().await.unwrap();
    assert_eq!(outbox.stats().await.unwrap().pending, 0);
    drop(outbox);
    database.remove().await;
}
