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

/// The sender of a webhook.
#[derive(Debug, Clone, Copy)]
enum Provider {
    Stripe,
    GitHub,
    Standard,
}

use Provider::{GitHub, Standard, Stripe};

impl Provider {
    const ALL: [Self; 3] = [Stripe, GitHub, Standard];

    /// The body of an event. A redelivery can have another version of it.
    fn body(self, event: &str, version: u8) -> String {
        match self {
            Stripe => format!(
                r#"{{"id":"{event}","type":"payment_intent.succeeded","pending_webhooks":{version},"data":{{"object":{{"id":"pi_{event}"}}}}}}"#
            ),
            GitHub => format!(r#"{{"after":"6113728f","size":{version}}}"#),
            Standard => format!(
                r#"{{"type":"contact.created","data":{{"name":"Ada","logins":{version}}}}}"#
            ),
        }
    }

    /// What its signature is of.
    fn signed(self, event: &str, time: u64, body: &str) -> String {
        match self {
            Stripe => format!("{time}.{body}"),
            GitHub => body.to_owned(),
            Standard => format!("{event}.{time}.{body}"),
        }
    }

    /// A delivery with this header of signatures.
    fn request(self, event: &str, time: u64, signature: &str) -> Builder {
        match self {
            Stripe => Request::post("/webhooks/stripe").header("stripe-signature", signature),
            GitHub => Request::post("/webhooks/github")
                .header("x-github-delivery", event)
                .header("x-hub-signature-256", signature),
            Standard => Request::post("/webhooks/contacts")
                .header("webhook-id", event)
                .header("webhook-timestamp", time)
                .header("webhook-signature", signature),
        }
    }

    /// The header of signatures. Stripe and Standard Webhooks send two while a secret is changed.
    fn signature(self, time: u64, mac: &[u8]) -> String {
        let old = "0".repeat(64);
        match self {
            Stripe => format!("t={time},v1={old},v1={},v0={old}", hex(mac)),
            GitHub => format!("sha256={}", hex(mac)),
            Standard => format!(
                "v1,{} v1,{}",
                BASE64_STANDARD.encode(&old),
                BASE64_STANDARD.encode(mac)
            ),
        }
    }

    fn table(self) -> &'static str {
        match self {
            Stripe => "payments",
            GitHub => "builds",
            Standard => "contacts",
        }
    }
}

/// The endpoints, and the database.
struct Service {
    router: Router,
    pool: SqlitePool,
}

impl Service {
    async fn new() -> Self {
        let (engine, pool) = engine(SCHEMA).await;
        let secrets = Secrets {
            stripe: SECRET.to_owned(),
            github: SECRET.to_owned(),
            standard: SECRET.as_bytes().to_vec(),
        };
        let router = router(engine, secrets);
        Self { router, pool }
    }

    async fn send(&self, request: Builder, body: &str) -> Answer {
        send(&self.router, request, body.to_owned()).await
    }

    /// Sends a delivery that is signed at this time.
    async fn deliver(&self, provider: Provider, event: &str, time: u64, body: &str) -> Answer {
        let mac = mac(SECRET.as_bytes(), &provider.signed(event, time, body));
        let signature = provider.signature(time, &mac);
        self.send(provider.request(event, time, &signature), body)
            .await
    }

    async fn effects(&self, provider: Provider) -> i64 {
        count(&self.pool, provider.table()).await
    }
}

/// The status of an answer, and whether it is a replay.
fn seen(answer: &Answer) -> (u16, bool) {
    (answer.status.as_u16(), answer.is_replay())
}

#[tokio::test]
async fn a_redelivery_with_a_changed_body_is_answered_by_a_replay() {
    let service = Service::new().await;
    for provider in Provider::ALL {
        for (event, version, age, is_replay) in [
            ("evt_1", 2, 60, false),
            ("evt_1", 1, 0, true), // signed anew
            ("evt_1", 2, 60, true),
            ("evt_2", 2, 0, false),
        ] {
            let body = provider.body(event, version);
            let answer = service.deliver(provider, event, now() - age, &body).await;
            assert_eq!(seen(&answer), (200, is_replay), "{provider:?} {event}");
        }
        assert_eq!(service.effects(provider).await, 2, "{provider:?}");
    }
}

#[tokio::test]
async fn a_wrong_signature_claims_nothing_and_sees_no_replay() {
    let service = Service::new().await;
    for provider in Provider::ALL {
        let (time, body) = (now(), provider.body("evt_1", 1));
        let signed = provider.signed("evt_1", time, &body);
        let right = mac(SECRET.as_bytes(), &signed);
        let tampered = provider.signed("evt_1", time, &provider.body("evt_1", 2));
        let wrong = [
            provider.signature(time, &mac(b"guessed", &signed)),
            provider.signature(time, &mac(SECRET.as_bytes(), &tampered)),
            provider.signature(time, &right[..31]),
            provider.signature(time, &[]),
            hex(&right),
            String::new(),
        ];
        for deliveries in [0, 1] {
            for signature in &wrong {
                let request = provider.request("evt_1", time, signature);
                let answer = service.send(request, &body).await;
                assert_eq!(seen(&answer), (401, false), "{provider:?} {signature}");
            }
            assert_eq!(service.effects(provider).await, deliveries);
            let answer = service.deliver(provider, "evt_1", time, &body).await;
            assert_eq!(seen(&answer), (200, deliveries > 0), "{provider:?}");
        }
    }
}

#[tokio::test]
async fn a_signature_holds_for_five_minutes_where_it_has_a_time() {
    let service = Service::new().await;
    for provider in [Stripe, Standard] {
        let body = provider.body("evt_1", 1);
        for time in [now() - 400, now() + 400, 0] {
            let answer = service.deliver(provider, "evt_1", time, &body).await;
            assert_eq!(seen(&answer), (401, false), "{provider:?} {time}");
        }
        // The time is signed.
        let old = mac(
            SECRET.as_bytes(),
            &provider.signed("evt_1", now() - 400, &body),
        );
        let request = provider.request("evt_1", now(), &provider.signature(now(), &old));
        assert_eq!(seen(&service.send(request, &body).await), (401, false));
        assert_eq!(service.effects(provider).await, 0);
        for (time, is_replay) in [(now() - 290, false), (now() + 290, true)] {
            let answer = service.deliver(provider, "evt_1", time, &body).await;
            assert_eq!(seen(&answer), (200, is_replay), "{provider:?} {time}");
        }
    }
}

#[tokio::test]
async fn after_a_500_the_redelivery_runs() {
    let service = Service::new().await;
    for provider in Provider::ALL {
        let body = provider.body("evt_1", 1);
        break_inserts(&service.pool, provider.table()).await;
        let failed = service.deliver(provider, "evt_1", now(), &body).await;
        assert_eq!(seen(&failed), (500, false), "{provider:?}");
        mend(&service.pool).await;
        for is_replay in [false, true] {
            let answer = service.deliver(provider, "evt_1", now(), &body).await;
            assert_eq!(seen(&answer), (200, is_replay), "{provider:?}");
        }
        assert_eq!(service.effects(provider).await, 1, "{provider:?}");
    }
}

#[tokio::test]
async fn a_delivery_without_its_id_is_refused() {
    let service = Service::new().await;
    for provider in [GitHub, Standard] {
        let mut request = provider.request("evt_1", now(), "");
        let headers = request.headers_mut().unwrap();
        headers.remove("x-github-delivery");
        headers.remove("webhook-id");
        assert_eq!(service.send(request, "{}").await.status, 400);
    }
}

#[tokio::test]
async fn two_events_of_stripe_about_one_payment_have_one_effect() {
    let service = Service::new().await;
    let first = Stripe.body("evt_1", 1);
    let second = first.replace(r#""id":"evt_1""#, r#""id":"evt_2""#);
    let ignored = Stripe.body("evt_3", 1).replace(".succeeded", ".created");
    for body in [first, second, ignored] {
        let answer = service.deliver(Stripe, "", now(), &body).await;
        assert_eq!(seen(&answer), (200, false), "{body}");
    }
    assert_eq!(service.effects(Stripe).await, 1);
}

#[tokio::test]
async fn one_of_the_signatures_of_standard_webhooks_has_to_be_right() {
    let service = Service::new().await;
    let (time, body) = (now(), Standard.body("msg_1", 1));
    let signed = Standard.signed("msg_1", time, &body);
    let of = |secret: &[u8]| BASE64_STANDARD.encode(mac(secret, &signed));
    let (right, old) = (of(SECRET.as_bytes()), of(b"the old secret"));
    let send = async |event: &str, signatures: &str| {
        let request = Standard.request(event, time, signatures);
        seen(&service.send(request, &body).await)
    };
    // Of an asymmetric key, of the old secret alone, of another version, without a version.
    let wrong = [
        "v1a,AAAA",
        &format!("v1,{old} v1,{old}"),
        &format!("v1a,{right}"),
        &right,
    ];
    for signatures in wrong {
        assert_eq!(
            send("msg_1", signatures).await,
            (401, false),
            "{signatures}"
        );
    }
    let right_of_another = format!("v1,{right}");
    assert_eq!(send("msg_2", &right_of_another).await, (401, false));
    let orders = [
        format!("v1,{right}"),
        format!("v1,{old} v1,{right}"),
        format!("v1,{right} v1,{old}"),
        format!("v1a,AAAA v1,no-base64 v1,{right}"),
    ];
    for (number, signatures) in orders.iter().enumerate() {
        assert_eq!(
            send("msg_1", signatures).await,
            (200, number > 0),
            "{signatures}"
        );
    }
    assert_eq!(service.effects(Standard).await, 1);
}

#[tokio::test]
async fn svix_and_webhook_are_names_of_one_id() {
    let service = Service::new().await;
    let body = Standard.body("msg_1", 1);
    service.deliver(Standard, "msg_1", now(), &body).await;
    for (event, is_replay) in [("msg_1", true), ("msg_2", false)] {
        let time = now();
        let mac = mac(SECRET.as_bytes(), &Standard.signed(event, time, &body));
        let request = Request::post("/webhooks/contacts")
            .header("svix-id", event)
            .header("svix-timestamp", time)
            .header("svix-signature", Standard.signature(time, &mac));
        let answer = service.send(request, &body).await;
        assert_eq!(seen(&answer), (200, is_replay), "{event}");
    }
    assert_eq!(service.effects(Standard).await, 2);
}

#[tokio::test]
async fn simultaneous_deliveries_have_one_effect() {
    let service = Service::new().await;
    for provider in Provider::ALL {
        let body = provider.body("evt_1", 1);
        let deliver = |age| service.deliver(provider, "evt_1", now() - age, &body);
        let (one, two, three) = tokio::join!(deliver(0), deliver(5), deliver(9));
        let mut answers = [one, two, three].map(|answer| seen(&answer));
        answers.sort_unstable();
        assert_eq!(
            answers,
            [(200, false), (200, true), (200, true)],
            "{provider:?}"
        );
        assert_eq!(service.effects(provider).await, 1);
    }
}
