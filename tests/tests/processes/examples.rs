//! The examples: their answers, and their end.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::{Duration, Instant};

use idem_tests::{Database, Domain as _, Request, Service, Site, until_working};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{observer, on_site};

/// Instantiates tests for every example. A test is an `async fn` that takes a `&Site<D>`.
macro_rules! on_every_example {
    ($($test:ident,)*) => {
        on_site!(payments Sqlite "payments" [$($test)*]);
        on_site!(payments_actix Sqlite "payments-actix" [$($test)*]);
        on_site!(payments_auth Sqlite "payments-auth" [$($test)*]);
        on_site!(payments_mysql Mysql "payments-mysql" [$($test)*]);
        on_site!(payments_postgres Postgres "payments-postgres" [$($test)*]);
    };
}

on_every_example![
    payment_is_made_once_for_a_key_of_a_tenant,
    payment_without_a_token_is_unauthorized,
    printed_commands_are_answered_as_printed_at_every_start,
    o10_terminated_while_a_handler_works_answers_and_ends_well,
    o10_interrupted_while_a_handler_works_answers_and_ends_well,
];

const PAYMENT: &str = r#"{"from":"alice","to":"bob","amount":500}"#;

/// The tokens of two tenants: their names, except where the example prints issued ones.
pub(crate) struct Tokens {
    pub(crate) acme: String,
    /// The token of another user of the same tenant.
    colleague: String,
    globex: String,
}

impl Tokens {
    pub(crate) async fn of<D>(site: &Site<D>, service: &mut Service) -> Self {
        if site.program != "payments-auth" {
            return Self {
                acme: "acme".to_owned(),
                colleague: "acme".to_owned(),
                globex: "globex".to_owned(),
            };
        }
        Self {
            acme: token(service, "ANN=").await,
            colleague: token(service, "BEN=").await,
            globex: token(service, "GUS=").await,
        }
    }
}

/// A token that the example has issued and printed.
async fn token(service: &mut Service, user: &str) -> String {
    let line = service.printed(user).await;
    line.split(' ').next().expect("a token").to_owned()
}

fn bearing(request: Request, token: &str) -> Request {
    request
        .without("authorization")
        .header("authorization", format!("Bearer {token}"))
}

fn payment(service: &Service, token: &str) -> Request {
    let payment = service.post("/payments").key("k").json(PAYMENT);
    bearing(payment, token)
}

async fn payments(service: &Service, token: &str) -> Vec<Value> {
    let payments = bearing(service.request("GET", "/payments"), token);
    let payments = payments.send().await;
    assert_eq!(payments.status, 200, "{}", payments.text());
    let payments = payments.json();
    payments.as_array().expect("a list").clone()
}

async fn payment_is_made_once_for_a_key_of_a_tenant<D: Database>(site: &Site<D>) {
    let mut service = Service::start(site).await;
    let tokens = Tokens::of(site, &mut service).await;
    let request = payment(&service, &tokens.acme);
    let first = request.send().await;
    first.assert_executed(201);
    assert_eq!(first.json()["amount"], 500);
    let reordered = r#"{ "amount": 500, "to": "bob", "from": "alice" }"#;
    let retry = request.clone().json(reordered);
    retry.send().await.assert_replays(&first);
    let other = r#"{"from":"alice","to":"bob","amount":501}"#;
    let other = request.clone().json(other).send().await;
    other.assert_problem("key-reused");
    assert_eq!(payments(&service, &tokens.acme).await, [first.json()]);
    let globex = payment(&service, &tokens.globex).send().await;
    globex.assert_executed(201);
    assert_eq!(payments(&service, &tokens.globex).await, [globex.json()]);
}

async fn payment_without_a_token_is_unauthorized<D: Database>(site: &Site<D>) {
    let mut service = Service::start(site).await;
    let tokens = Tokens::of(site, &mut service).await;
    let request = payment(&service, &tokens.acme);
    request.send().await.assert_executed(201);
    for request in [
        request.clone().without("authorization"),
        bearing(request, ""),
    ] {
        let answer = request.send().await;
        assert_eq!(answer.status, 401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        assert!(!answer.is_replay());
    }
}

async fn printed_commands_are_answered_as_printed_at_every_start<D: Database>(site: &Site<D>) {
    for _ in 0..2 {
        let mut service = Service::start(site).await;
        let tokens = Tokens::of(site, &mut service).await;
        let page = service.request("GET", "/").without("authorization");
        let page = page.send().await;
        assert_eq!(page.status, 200);
        let page = page.text();
        for line in page.lines() {
            service.printed(line).await;
        }
        let page = page
            .replace("$ANN", &tokens.acme)
            .replace("$BEN", &tokens.colleague)
            .replace("$GUS", &tokens.globex);
        let commands = page.split("\n\n").filter(|part| part.contains("curl "));
        let mut number = 0;
        for command in commands {
            let (command, promised) = command.split_once("\n#> HTTP/1.1 ").expect("a status");
            let answer = typed(&service, command).send().await;
            let mut promised = promised.split("\n#> ");
            let status = promised.next().and_then(|line| line.split(' ').next());
            assert_eq!(
                status,
                Some(answer.status.to_string().as_str()),
                "{command}"
            );
            let mut replay = false;
            for line in promised {
                let (name, value) = line.split_once(": ").expect("a header");
                assert_eq!(answer.header(name), Some(value), "{command}");
                replay |= name == "idempotency-replayed";
            }
            assert_eq!(answer.is_replay(), replay, "{command}");
            number += 1;
        }
        assert_eq!(number, 5, "{page}");
    }
}

/// The request that `curl` sends for a command.
fn typed(service: &Service, command: &str) -> Request {
    let words = words(command);
    let mut words = words.iter();
    let (mut method, mut path, mut headers, mut body) = ("GET", "", Vec::new(), "");
    let origin = format!("http://{}", service.address);
    while let Some(word) = words.next() {
        let mut value = || words.next().expect("a value").as_str();
        match word.as_str() {
            "curl" => {}
            "-iw" | "-w" => drop(value()),
            "-X" => method = value(),
            "-H" => headers.push(value().split_once(": ").expect("a header")),
            "-d" => (method, body) = ("POST", value()),
            url => path = url.strip_prefix(&origin).expect("a flag or an address"),
        }
    }
    let request = service.request(method, path).without("authorization");
    let request = request.body("application/x-www-form-urlencoded", body);
    headers.into_iter().fold(request, |request, (name, value)| {
        request.without(name).header(name, value)
    })
}

/// A command without its comments, split as a shell splits it.
fn words(command: &str) -> Vec<String> {
    let lines: Vec<&str> = command
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.trim_end_matches('\\'))
        .collect();
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in lines.join(" ").chars() {
        match character {
            '\'' | '"' if quote.is_none() => quote = Some(character),
            _ if quote == Some(character) => quote = None,
            ' ' if quote.is_none() => words.push(String::new()),
            _ => words.last_mut().expect("a word").push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

async fn o10_terminated_while_a_handler_works_answers_and_ends_well<D: Database>(site: &Site<D>) {
    answers_and_ends_well(site, Service::terminate).await;
}

async fn o10_interrupted_while_a_handler_works_answers_and_ends_well<D: Database>(site: &Site<D>) {
    answers_and_ends_well(site, Service::interrupt).await;
}

async fn answers_and_ends_well<D: Database>(site: &Site<D>, end: fn(&Service)) {
    let mut before = Service::working(site, Duration::from_millis(500)).await;
    let tokens = Tokens::of(site, &mut before).await;
    let pool = observer(site).await;
    let mut connection = pool.acquire().await.expect("a connection");
    let pending = payment(&before, &tokens.acme).start();
    until_working::<D>(&mut connection).await;
    end(&before);
    let first = pending.answer().await;
    first.assert_executed(201);
    assert_eq!(before.ended().await.code(), Some(0));
    let mut after = Service::start(site).await;
    let tokens = Tokens::of(site, &mut after).await;
    let replay = payment(&after, &tokens.acme).send().await;
    replay.assert_replays(&first);
    assert_eq!(payments(&after, &tokens.acme).await, [first.json()]);
}

/// Instantiates tests for the examples with accounts.
macro_rules! on_every_ledger {
    ($($test:ident,)*) => {
        mod ledgers {
            use super::*;
            on_site!(payments Sqlite "payments" [$($test)*]);
            on_site!(payments_actix Sqlite "payments-actix" [$($test)*]);
            on_site!(payments_mysql Mysql "payments-mysql" [$($test)*]);
            on_site!(payments_postgres Postgres "payments-postgres" [$($test)*]);
        }
    };
}

on_every_ledger![accounts_have_what_the_payments_left,];

async fn accounts_have_what_the_payments_left<D: Database>(site: &Site<D>) {
    let service = Service::start(site).await;
    assert_eq!(service.get("/accounts").await, json!([]));
    for (key, body, status) in [
        (
            "much",
            r#"{"from":"alice","to":"bob","amount":100001}"#,
            402,
        ),
        ("debtor", r#"{"from":"eve","to":"bob","amount":1}"#, 404),
        ("creditor", r#"{"from":"alice","to":"eve","amount":1}"#, 404),
        ("nothing", r#"{"from":"alice","to":"bob","amount":0}"#, 422),
        (
            "more",
            r#"{"from":"alice","to":"bob","amount":9223372036854775807}"#,
            402,
        ),
    ] {
        let request = service.post("/payments").key(key).json(body);
        let refused = request.send().await;
        assert_eq!(refused.status, status, "{}", refused.text());
        assert_eq!(refused.json()["status"], status);
        let content_type = refused.header("content-type");
        assert_eq!(content_type, Some("application/problem+json"));
        request.send().await.assert_replays(&refused);
    }
    // Not even the accounts that the refused payments opened.
    assert_eq!(service.get("/accounts").await, json!([]));
    let paid = payment(&service, "acme").send().await;
    paid.assert_executed(201);
    let location = paid.header("location").expect("a location");
    assert_eq!(service.get(location).await, paid.json());
    let moved = json!([
        {"name": "alice", "balance": 99_500},
        {"name": "bob", "balance": 100_500},
    ]);
    assert_eq!(service.get("/accounts").await, moved);
    let too_much = r#"{"from":"alice","to":"bob","amount":99501}"#;
    let refused = service.post("/payments").key("again").json(too_much);
    assert_eq!(refused.send().await.status, 402);
    assert_eq!(service.get("/accounts").await, moved);
}

on_site!(authenticated Sqlite "payments-auth" [
    colleague_gets_the_replay
    revoked_token_gets_no_replay
]);

async fn colleague_gets_the_replay<D: Database>(site: &Site<D>) {
    let mut service = Service::start(site).await;
    let ann = token(&mut service, "ANN=").await;
    let ben = token(&mut service, "BEN=").await;
    let first = payment(&service, &ann).send().await;
    first.assert_executed(201);
    assert_eq!(first.json()["payer"], "ann");
    payment(&service, &ben).send().await.assert_replays(&first);
}

async fn revoked_token_gets_no_replay<D: Database>(site: &Site<D>) {
    let mut service = Service::start(site).await;
    let ann = token(&mut service, "ANN=").await;
    let ben = token(&mut service, "BEN=").await;
    let first = payment(&service, &ann).send().await;
    first.assert_executed(201);
    for status in [204, 401] {
        let revoked = bearing(service.request("DELETE", "/token"), &ann)
            .send()
            .await;
        assert_eq!(revoked.status, status);
    }
    for token in [&ann, "unknown"] {
        let refused = payment(&service, token).send().await;
        assert_eq!(refused.status, 401);
        assert!(!refused.is_replay());
    }
    payment(&service, &ben).send().await.assert_replays(&first);
}

on_site!(outbox Postgres "payments-postgres" [
    letter_is_written_with_its_payment_and_sent_once
]);

async fn letter_is_written_with_its_payment_and_sent_once<D: Database>(site: &Site<D>) {
    let service = Service::start(site).await;
    let request = payment(&service, "acme");
    let too_much = r#"{"from":"alice","to":"bob","amount":100001}"#;
    let refused = request.clone().key("much").json(too_much).send().await;
    assert_eq!(refused.status, 402);
    let first = request.send().await;
    first.assert_executed(201);
    request.send().await.assert_replays(&first);
    let other = request.key("other").send().await;
    other.assert_executed(201);

    let pool = observer(site).await;
    let mut connection = pool.acquire().await.expect("a connection");
    let mut number = async |sql: &str| connection.number(sql).await.expect("a number");
    let letters = number("SELECT count(*) FROM outbox").await;
    assert_eq!(letters, 2);
    let keys = "SELECT count(DISTINCT key) FROM outbox WHERE key ~ '^[0-9a-f]{32}$'";
    assert_eq!(number(keys).await, 2);
    let until = Instant::now() + Duration::from_secs(20);
    while number("SELECT count(sent_at) FROM outbox").await < letters {
        assert!(Instant::now() < until, "no letter is sent");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Cargo unifies the features of all packages that it selects. So one package more in `default-members` would add its
/// framework and its database to the first command of the README.
#[test]
fn first_command_builds_one_framework_and_one_database() {
    /// Few enough to be built while somebody waits.
    const MOST: usize = 140;

    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--locked", "--edges", "normal,build", "--no-dedupe"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .expect("cargo can be run");
    assert!(tree.status.success(), "{tree:?}");
    let tree = String::from_utf8(tree.stdout).expect("names");
    // The features are those of all default members together, and the crates those of the one that is run.
    let mut members = tree.split("\n\n");
    let tree = members.find(|tree| tree.starts_with("payments "));
    let names = |line: &str| line.split(' ').next().map(str::to_owned);
    let crates: BTreeSet<String> = tree
        .expect("the example")
        .lines()
        .filter_map(names)
        .collect();
    for needed in ["payments", "axum", "sqlx-sqlite"] {
        assert!(crates.contains(needed), "{needed} is missing: {crates:?}");
    }
    for heavy in [
        "actix-web",
        "clap",
        "icu_normalizer",
        "regex-automata",
        "sqlx-macros",
        "sqlx-mysql",
        "sqlx-postgres",
    ] {
        assert!(!crates.contains(heavy), "{heavy} is built too");
    }
    let number = crates.len();
    assert!(number <= MOST, "{number} crates: {crates:?}");
}
