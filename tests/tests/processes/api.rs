//! The API of the test service.

use idem_tests::{Database, Service, Site};

use crate::on_every_site;

on_every_site![
    payment_is_created_and_found_where_it_says,
    payment_without_a_tenant_is_unauthorized,
    payments_that_cannot_be_made_are_refused_for_good,
    key_is_required_and_bound,
    tenants_have_their_own_keys_and_accounts,
    refunds_are_bounded_by_their_payment,
    charges_are_taken_from_forms_and_listed,
];

const PAYMENT: &str = r#"{"from":"alice","to":"bob","amount":500}"#;

async fn payment_is_created_and_found_where_it_says<D: Database>(site: &Site<D>) {
    let service = Service::start(site).await;
    let request = service.post("/payments").key("k").json(PAYMENT);
    let first = request.send().await;
    first.assert_executed(201);
    let payment = first.json();
    assert_eq!(payment["amount"], 500);
    assert_eq!(payment["note"], serde_json::Value::Null);
    let location = first.header("location").expect("a place");
    assert_eq!(service.get(location).await, payment);
    assert_eq!(service.get("/payments").await[0], payment);
    let reordered = r#"{ "amount": 500, "to": "bob", "from": "alice", "note": null }"#;
    request.send().await.assert_replays(&first);
    request.json(reordered).send().await.assert_replays(&first);
    let missing = service.request("GET", "/payments/999").send().await;
    assert_eq!(missing.status, 404);
    let accounts = service.get("/accounts").await;
    assert_eq!(accounts[0]["name"], "alice");
    assert_eq!(accounts[0]["balance"], 99_500);
}

async fn payment_without_a_tenant_is_unauthorized<D: Database>(site: &Site<D>) {
    let service = Service::start(site).await;
    let request = service.post("/payments").key("k").json(PAYMENT);
    let anonymous = request.clone().without("authorization");
    for request in [
        anonymous.clone(),
        anonymous.clone().header("authorization", "Basic acme"),
        anonymous.header("authorization", "Bearer "),
    ] {
        let answer = request.send().await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json")
        );
    }
    request.send().await.assert_executed(201);
    let stranger = request.without("authorization").send().await;
    assert_eq!(stranger.status, 401, "no replay without a tenant");
}

async fn payments_that_cannot_be_made_are_refused_for_good<D: Database>(site: &Site<D>) {
    let service = Service::start(site).await;
    let cases = [
        (
            "too-much",
            r#"{"from":"alice","to":"bob","amount":100001}"#,
            402,
        ),
        ("nobody", r#"{"from":"alice","to":"eve","amount":1}"#, 404),
        ("nothing", r#"{"from":"alice","to":"bob","amount":0}"#, 422),
    ];
    for (key, body, status) in cases {
        let request = service.post("/payments").key(key).json(body);
        let first = request.send().await;
        assert_eq!(first.status, status, "{}", first.text());
        assert_eq!(first.json()["status"], status);
        request.send().await.assert_replays(&first);
    }
    assert_eq!(service.get("/payments").await, serde_json::json!([]));
    let accounts = service.get("/accounts").await;
    assert_eq!(accounts[0]["balance"], 100_000);
    let broken = service.post("/payments").key("broken").json("{");
    assert_eq!(broken.send().await.status, 400);
    let fixed = broken.json(PAYMENT).send().await;
    fixed.assert_executed(201);
}

async fn key_is_required_and_bound<D: Database>(site: &Site<D>) {
    let service = Service::start(site).await;
    let request = service.post("/payments").json(PAYMENT);
    request.send().await.assert_problem("key-missing");
    let request = request.key("k");
    request.send().await.assert_executed(201);
    let other = request.json(r#"{"from":"alice","to":"bob","amount":501}"#);
    other.send().await.assert_problem("key-reused");
    assert_eq!(
        service.get("/payments").await.as_array().map(Vec::len),
        Some(1)
    );
}

async fn tenants_have_their_own_keys_and_accounts<D: Database>(site: &Site<D>) {
    let service = Service::start(site).await;
    let request = service.post("/payments").key("k").json(PAYMENT);
    let acme = request.send().await;
    let request = request
        .without("authorization")
        .header("authorization", "Bearer globex");
    let globex = request.send().await;
    globex.assert_executed(201);
    assert_ne!(acme.json()["id"], globex.json()["id"]);
    let theirs = globex.header("location").expect("a place");
    let answer = service.request("GET", theirs).send().await;
    assert_eq!(answer.status, 404);
}

async fn refunds_are_bounded_by_their_payment<D: Database>(site: &Site<D>) {
    let service = Service::start(site).await;
    let payment = service.post("/payments").key("k").json(PAYMENT);
    let payment = payment.send().await.json();
    let refunds = format!("/payments/{}/refunds", payment["id"]);
    let refund = |key: &str, amount: i64| {
        let body = format!(r#"{{"amount":{amount}}}"#);
        service.post(&refunds).key(key).json(&body)
    };
    let first = refund("r1", 400).send().await;
    first.assert_executed(201);
    refund("r1", 400).send().await.assert_replays(&first);
    for _ in 0..2 {
        let too_much = refund("r2", 200).send().await;
        assert_eq!(too_much.status, 409);
        assert!(!too_much.is_replay(), "a conflict may be gone later");
    }
    refund("r3", 100).send().await.assert_executed(201);
    let unknown = service.post("/payments/999/refunds").key("r4");
    let unknown = unknown.json(r#"{"amount":1}"#).send().await;
    assert_eq!(unknown.status, 404);
    let accounts = service.get("/accounts").await;
    assert_eq!(accounts[0]["balance"], 100_000);
}

async fn charges_are_taken_from_forms_and_listed<D: Database>(site: &Site<D>) {
    let service = Service::start(site).await;
    let form = "application/x-www-form-urlencoded";
    let request = service.post("/v1/charges").key("k");
    let charge = request
        .clone()
        .body(form, "amount=2000&currency=eur&source=tok_visa");
    let first = charge.send().await;
    first.assert_executed(200);
    assert_eq!(first.json()["object"], "charge");
    let reordered = request
        .clone()
        .body(form, "source=tok%5Fvisa&currency=eur&amount=2000");
    reordered.send().await.assert_replays(&first);
    let other = request.body(form, "amount=2001&currency=eur&source=tok_visa");
    other.send().await.assert_problem("key-reused");
    let charges = service.get("/v1/charges").await;
    assert_eq!(charges["object"], "list");
    assert_eq!(charges["data"], serde_json::json!([first.json()]));
}
