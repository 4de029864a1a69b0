//! Services that are restarted, terminated and killed.

use std::time::Duration;

use idem_tests::{Database, Request, Service, Site, answers, assert_one_executed, until_working};

use crate::{observer, on_every_site};

on_every_site![
    r6_replay_works_after_a_restart,
    i3_killed_in_the_middle_of_the_handler_pays_once_on_the_retry,
    i3_killed_after_the_answer_replays,
    o10_terminated_in_the_middle_of_the_handler_answers_and_ends_well,
    o10_interrupted_in_the_middle_of_the_handler_answers_and_ends_well,
    o10_terminated_when_the_client_has_gone_ends_the_attempt,
    c1_two_processes_on_one_database_pay_once,
    c1_two_processes_on_one_database_serve_different_keys,
];

crate::on_site!(actix_sqlite_alone Sqlite "service-actix" [
    o10_second_signal_does_not_wait_for_the_attempt
]);

const PAYMENT: &str = r#"{"from":"alice","to":"bob","amount":500}"#;

/// Longer than any test.
const FOREVER: Duration = Duration::from_mins(10);

fn payment(service: &Service) -> Request {
    service.post("/payments").key("k").json(PAYMENT)
}

async fn payments(service: &Service) -> usize {
    let payments = service.get("/payments").await;
    payments.as_array().expect("a list").len()
}

async fn r6_replay_works_after_a_restart<D: Database>(site: &Site<D>) {
    let before = Service::start(site).await;
    let request = payment(&before);
    let first = request.send().await;
    first.assert_executed(201);
    before.terminate();
    assert_eq!(before.ended().await.code(), Some(0));
    let after = Service::start(site).await;
    payment(&after).send().await.assert_replays(&first);
    assert_eq!(payments(&after).await, 1);
}

async fn i3_killed_in_the_middle_of_the_handler_pays_once_on_the_retry<D: Database>(
    site: &Site<D>,
) {
    let before = Service::working(site, FOREVER).await;
    let pool = observer(site).await;
    let mut connection = pool.acquire().await.expect("a connection");
    let client = payment(&before).open().await;
    until_working::<D>(&mut connection).await;
    before.kill().await;
    drop(client);
    let after = Service::start(site).await;
    assert_eq!(payments(&after).await, 0);
    let retry = payment(&after).send().await;
    retry.assert_executed(201);
    payment(&after).send().await.assert_replays(&retry);
    assert_eq!(payments(&after).await, 1);
    let accounts = after.get("/accounts").await;
    assert_eq!(accounts[0]["balance"], 99_500);
    assert_eq!(accounts[1]["balance"], 100_500);
}

async fn i3_killed_after_the_answer_replays<D: Database>(site: &Site<D>) {
    let before = Service::start(site).await;
    let first = payment(&before).send().await;
    before.kill().await;
    first.assert_executed(201);
    let after = Service::start(site).await;
    payment(&after).send().await.assert_replays(&first);
    assert_eq!(payments(&after).await, 1);
}

async fn o10_terminated_in_the_middle_of_the_handler_answers_and_ends_well<D: Database>(
    site: &Site<D>,
) {
    answers_and_ends_well(site, Service::terminate).await;
}

async fn o10_interrupted_in_the_middle_of_the_handler_answers_and_ends_well<D: Database>(
    site: &Site<D>,
) {
    answers_and_ends_well(site, Service::interrupt).await;
}

async fn answers_and_ends_well<D: Database>(site: &Site<D>, end: fn(&Service)) {
    let before = Service::working(site, Duration::from_millis(500)).await;
    let pool = observer(site).await;
    let mut connection = pool.acquire().await.expect("a connection");
    let pending = payment(&before).start();
    until_working::<D>(&mut connection).await;
    end(&before);
    let first = pending.answer().await;
    first.assert_executed(201);
    assert_eq!(before.ended().await.code(), Some(0));
    let after = Service::start(site).await;
    payment(&after).send().await.assert_replays(&first);
    assert_eq!(payments(&after).await, 1);
}

async fn o10_second_signal_does_not_wait_for_the_attempt<D: Database>(site: &Site<D>) {
    let before = Service::working(site, FOREVER).await;
    let pool = observer(site).await;
    let mut connection = pool.acquire().await.expect("a connection");
    let client = payment(&before).open().await;
    until_working::<D>(&mut connection).await;
    before.terminate();
    before.interrupt();
    assert_eq!(before.ended().await.code(), Some(1));
    drop(client);
    let after = Service::start(site).await;
    assert_eq!(payments(&after).await, 0);
    payment(&after).send().await.assert_executed(201);
}

async fn o10_terminated_when_the_client_has_gone_ends_the_attempt<D: Database>(site: &Site<D>) {
    let before = Service::working(site, Duration::from_millis(500)).await;
    let pool = observer(site).await;
    let mut connection = pool.acquire().await.expect("a connection");
    let client = payment(&before).open().await;
    until_working::<D>(&mut connection).await;
    drop(client);
    before.terminate();
    assert_eq!(before.ended().await.code(), Some(0));
    let after = Service::start(site).await;
    assert_eq!(payments(&after).await, 1);
    let retry = payment(&after).send().await;
    assert!(retry.is_replay());
    assert_eq!(retry.status, 201);
    assert_eq!(payments(&after).await, 1);
}

async fn c1_two_processes_on_one_database_pay_once<D: Database>(site: &Site<D>) {
    let work = Duration::from_millis(100);
    let one = Service::working(site, work).await;
    let other = Service::working(site, work).await;
    let requests = [payment(&one), payment(&other)];
    let duplicates = requests.iter().cycle().take(32);
    let pending: Vec<_> = duplicates.map(Request::start).collect();
    assert_one_executed(&answers(pending).await);
    assert_eq!(payments(&one).await, 1);
    assert_eq!(payments(&other).await, 1);
}

async fn c1_two_processes_on_one_database_serve_different_keys<D: Database>(site: &Site<D>) {
    let (one, other) = (Service::start(site).await, Service::start(site).await);
    let requests = [payment(&one), payment(&other)];
    let different = requests.iter().cloned().cycle().take(20).enumerate();
    let pending: Vec<_> = different
        .map(|(number, request)| request.key(format!("key-{number}")).start())
        .collect();
    for answer in answers(pending).await {
        answer.assert_executed(201);
    }
    assert_eq!(payments(&one).await, 20);
    let accounts = other.get("/accounts").await;
    assert_eq!(accounts[0]["balance"], 100_000 - 20 * 500);
}
