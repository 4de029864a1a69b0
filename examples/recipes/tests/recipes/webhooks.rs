use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::http::Request;
use axum::http::request::Builder;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use recipes::webhooks::{SCHEMA, Secrets, router};
use sha2::Sha256;
use sqlx::SqlitePool;

use crate::call::{Answer, break_inserts, count, engine, mend, send};

const SECRET: &str = "whsec_test";

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap().as_secs()
}

fn mac(secret: &[u8], content: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
    mac.update(content.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    digits.collect::<Vec<_>>().concat()
}

fn stripe(secret: &str, time: u64, body: &str) -> Builder {
    let mac = hex(&mac(secret.as_bytes(), &format!("{time}.{body}")));
    let old = "0".repeat(64);
    Request::post("/webhooks/stripe").header(
        "stripe-signature",
        format!("t={time},v1={old},v1={mac},v0={old}"),
    )
}

fn github(delivery: &str, body: &str) -> Builder {
    Request::post("/webhooks/github")
        .header("x-github-delivery", delivery)
        .header(
            "x-hub-signature-256",
            format!("sha256={}", hex(&mac(SECRET.as_bytes(), body))),
        )
}

fn standard(family: &str, id: &str, time: u64, body: &str) -> Builder {
    let mac = BASE64_STANDARD.encode(mac(SECRET.as_bytes(), &format!("{id}.{time}.{body}")));
    Request::post("/webhooks/contacts")
        .header(format!("{family}-id"), id)
        .header(format!("{family}-timestamp"), time)
        .header(
            format!("{family}-signature"),
            format!("v1a,AAAA v1,AAAA v1,{mac}"),
        )
}

fn succeeded(event: &str, intent: &str, pending: u8) -> String {
    format!(
        r#"{{"id":"{event}","type":"payment_intent.succeeded","pending_webhooks":{pending},"data":{{"object":{{"id":"{intent}"}}}}}}"#
    )
}

const ADA: &str = r#"{"type":"contact.created","data":{"name":"Ada"}}"#;

async fn service() -> (Router, SqlitePool) {
    let (engine, pool) = engine(SCHEMA).await;
    let secrets = Secrets {
        stripe: SECRET.to_owned(),
        github: SECRET.to_owned(),
        standard: SECRET.as_bytes().to_vec(),
    };
    (router(engine, secrets), pool)
}

async fn deliver(router: &Router, body: &str, time: u64) -> Answer {
    send(router, stripe(SECRET, time, body), body.to_owned()).await
}

#[tokio::test]
async fn a_redelivery_of_stripe_is_a_replay_although_its_body_and_signature_differ() {
    let (router, pool) = service().await;
    let first = deliver(&router, &succeeded("evt_1", "pi_1", 2), now() - 60).await;
    assert_eq!((first.status.as_u16(), first.is_replay()), (200, false));
    let again = deliver(&router, &succeeded("evt_1", "pi_1", 1), now()).await;
    assert_eq!((again.status.as_u16(), again.is_replay()), (200, true));
    assert_eq!(count(&pool, "payments").await, 1);

    // A second event about the same object is not a redelivery, and yet has no second effect.
    let other = deliver(&router, &succeeded("evt_2", "pi_1", 1), now()).await;
    assert_eq!((other.status.as_u16(), other.is_replay()), (200, false));
    assert_eq!(count(&pool, "payments").await, 1);
    let ignored = succeeded("evt_3", "pi_3", 1).replace(".succeeded", ".created");
    assert_eq!(deliver(&router, &ignored, now()).await.status, 200);
    assert_eq!(count(&pool, "payments").await, 1);
}

#[tokio::test]
async fn a_wrong_or_old_signature_claims_nothing_and_sees_nothing() {
    let (router, pool) = service().await;
    let body = succeeded("evt_1", "pi_1", 1);
    let forged = stripe("guessed", now(), &body);
    assert_eq!(send(&router, forged, body.clone()).await.status, 401);
    assert_eq!(deliver(&router, &body, now() - 400).await.status, 401);
    assert_eq!(deliver(&router, &body, now() + 400).await.status, 401);
    let unsigned = Request::post("/webhooks/stripe");
    assert_eq!(send(&router, unsigned, body.clone()).await.status, 401);
    assert_eq!(count(&pool, "payments").await, 0);

    assert_eq!(deliver(&router, &body, now()).await.status, 200);
    // Redeliveries are verified, too: there is no replay for one with a wrong signature.
    let forged = stripe("guessed", now(), &body);
    let forged = send(&router, forged, body.clone()).await;
    assert_eq!((forged.status.as_u16(), forged.is_replay()), (401, false));

    let tampered = send(
        &router,
        github("d-1", r#"{"after":"1"}"#),
        r#"{"after":"2"}"#,
    )
    .await;
    assert_eq!(tampered.status, 401);
    let mut wrong_id = standard("webhook", "msg_1", now(), ADA);
    let headers = wrong_id.headers_mut().unwrap();
    headers.insert("webhook-id", "msg_2".parse().unwrap());
    assert_eq!(send(&router, wrong_id, ADA).await.status, 401);
    let old = standard("webhook", "msg_1", now() - 400, ADA);
    assert_eq!(send(&router, old, ADA).await.status, 401);
    assert_eq!(
        count(&pool, "builds").await + count(&pool, "contacts").await,
        0
    );
}

#[tokio::test]
async fn after_a_500_the_redelivery_runs() {
    let (router, pool) = service().await;
    let body = r#"{"after":"6113728f"}"#;
    break_inserts(&pool, "builds").await;
    assert_eq!(send(&router, github("d-1", body), body).await.status, 500);
    mend(&pool).await;
    for is_replay in [false, true] {
        let answer = send(&router, github("d-1", body), body).await;
        assert_eq!(
            (answer.status.as_u16(), answer.is_replay()),
            (200, is_replay)
        );
    }
    assert_eq!(count(&pool, "builds").await, 1);
    assert_eq!(send(&router, github("d-2", body), body).await.status, 200);
    assert_eq!(count(&pool, "builds").await, 2);

    let without_id = Request::post("/webhooks/github").header("x-hub-signature-256", "sha256=");
    assert_eq!(send(&router, without_id, body).await.status, 400);
}

#[tokio::test]
async fn simultaneous_deliveries_of_standard_webhooks_have_one_effect() {
    let (router, pool) = service().await;
    let deliver = |time| send(&router, standard("webhook", "msg_1", time, ADA), ADA);
    let (one, two, three) = tokio::join!(deliver(now()), deliver(now() - 5), deliver(now() - 9));
    let answers = [one, two, three];
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(
        answers.iter().filter(|answer| answer.is_replay()).count(),
        2
    );
    assert_eq!(count(&pool, "contacts").await, 1);

    let svix = send(&router, standard("svix", "msg_1", now(), ADA), ADA).await;
    assert!(svix.is_replay());
    let svix = send(&router, standard("svix", "msg_2", now(), ADA), ADA).await;
    assert_eq!((svix.status.as_u16(), svix.is_replay()), (200, false));
    assert_eq!(count(&pool, "contacts").await, 2);
}
