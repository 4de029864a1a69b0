//! The clients of `examples/clients`, and the table of problem types in `docs/clients.md`.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use futures_util::future::join_all;
use idem_client::{Client, Error, Key, Last};
use idem_core::{KeyError, Problem};
use idem_faults::{Fault, Harm};
use idem_tests::Service;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::programs::{fed, printed, program, tsc};
use crate::script::{Asked, Script, answer, half, json_answer, refusal};
use crate::{DIRECTIONS, proxy_to};

const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/clients");
const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/clients.md");

#[derive(Debug, Clone, Copy)]
enum Language {
    Python,
    TypeScript,
}

use Language::{Python, TypeScript};

impl Language {
    /// Pays an invoice, whose number is also the amount.
    fn pay(self, service: SocketAddr, invoice: usize) -> Command {
        self.pay_at(&format!("http://{service}"), invoice)
    }

    fn pay_at(self, service: &str, invoice: usize) -> Command {
        let (program_name, file) = match self {
            Python => ("python", "python/pay.py"),
            TypeScript => ("node", "typescript/pay.ts"),
        };
        let mut command = program(program_name);
        command.arg(Path::new(CLIENTS).join(file));
        let invoice = invoice.to_string();
        command.args([service, &invoice, &invoice]);
        command
    }

    /// A program that reads a list of words, and prints the list of their keys.
    fn keys(self) -> Command {
        match self {
            Python => {
                let mut python = program("python");
                python.current_dir(Path::new(CLIENTS).join("python"));
                python.args(["-c", "import json; from once import key_of; print(json.dumps([key_of(*words) for words in json.loads(input())]))"]);
                python
            }
            TypeScript => {
                let mut node = program("node");
                node.current_dir(Path::new(CLIENTS).join("typescript"));
                node.args(["--input-type=module", "--eval", "
                    import { readFileSync } from 'node:fs';
                    import { keyOf } from './once.ts';
                    const all = JSON.parse(readFileSync(0, 'utf8'));
                    console.log(JSON.stringify(await Promise.all(all.map((words) => keyOf(...words)))));
                "]);
                node
            }
        }
    }
}

#[tokio::test]
async fn x40_keys_are_the_same_in_each_language() {
    let mut rng = Rng::with_seed(40);
    let words: Vec<[String; 3]> = (0..200).map(|_| [(); 3].map(|()| word(&mut rng))).collect();
    let keys = words
        .iter()
        .map(|[space, operation, id]| Key::derive(space, operation, id).to_string());
    let keys: Vec<String> = keys.collect();
    let input = format!("{}\n", json!(words));
    for language in [Python, TypeScript] {
        let printed = fed(language.keys(), &input).await;
        let printed: Vec<String> = serde_json::from_str(&printed).expect("a list of keys");
        assert_eq!(printed, keys, "{language:?}");
    }
}

/// Some characters of each length in UTF-8, and in UTF-16.
fn word(rng: &mut Rng) -> String {
    let length = rng.usize(0..40);
    let character = |_| ['a', '-', '7', 'Ä', '€', '\u{301}', '𝄞', '\0'][rng.usize(0..8)];
    (0..length).map(character).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x40_python_client_pays_each_invoice_once() {
    pays_each_invoice_once(Python, Rng::with_seed(40)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x40_typescript_client_pays_each_invoice_once() {
    pays_each_invoice_once(TypeScript, Rng::with_seed(41)).await;
}

const INVOICES: usize = 16;

/// The wire is cut at a random byte. For every other invoice it stalls there, the process is killed, started again and
/// killed at a random time.
async fn pays_each_invoice_once(language: Language, mut rng: Rng) {
    let folder = tempfile::tempdir().expect("a folder");
    let database = folder.path().join("payments.sqlite");
    let database = format!("sqlite:{}", database.display());
    let arguments = ["--database-url", &database, "--work-ms", "5"];
    let service = Service::run("payments", &arguments).await;
    let proxy = proxy_to(service.address).await;
    proxy.count();
    let start = Instant::now();
    paid(language, proxy.address, INVOICES + 1).await;
    let (traffic, run) = (proxy.traffic(), start.elapsed());
    for invoice in 1..=INVOICES {
        let is_killed = invoice % 2 == 0;
        let direction = DIRECTIONS[invoice / 2 % 2];
        let harmed = proxy.harms();
        proxy.arm(Fault {
            direction,
            after: rng.usize(0..traffic.of(direction)),
            harm: if is_killed { Harm::Stall } else { Harm::Cut },
        });
        if is_killed {
            let waiting = language.pay(proxy.address, invoice).spawn();
            proxy.harmed(harmed + 1).await;
            let mut waiting = waiting.expect("a client");
            waiting.kill().await.expect("a client that waits");
            proxy.heal();
            // Dropping the run kills the process.
            let paying = paid(language, proxy.address, invoice);
            let _ended = timeout(run.mul_f64(rng.f64()), paying).await;
        }
        let first = paid(language, proxy.address, invoice).await;
        assert_eq!(proxy.harms(), harmed + 1, "{invoice}");
        assert!(first.starts_with("201 {"), "{invoice}: {first}");
        assert_eq!(paid(language, proxy.address, invoice).await, first);
    }
    let payments = service.get("/payments").await;
    let payments = payments.as_array().expect("a list").iter();
    let amounts = payments.map(|payment| payment["amount"].as_u64().expect("an amount"));
    let mut amounts: Vec<u64> = amounts.collect();
    amounts.sort_unstable();
    let once: Vec<u64> = (1..).take(INVOICES + 1).collect();
    assert_eq!(amounts, once);
}

/// The answer that a run of the client prints.
async fn paid(language: Language, service: SocketAddr, invoice: usize) -> String {
    let output = language
        .pay(service, invoice)
        .output()
        .await
        .expect("a client");
    assert!(output.status.success(), "{output:?}");
    printed(&output)
}

/// Each problem of the library.
fn problems() -> Vec<Problem> {
    let problems = vec![
        Problem::KeyMissing,
        Problem::KeyMalformed(KeyError::Empty),
        Problem::KeyReused,
        Problem::InFlight,
        Problem::TooManyRetries { retry_after: 1 },
        Problem::TryAgain,
        Problem::OutcomeUnknown,
        Problem::Unavailable,
        Problem::HandlerPanicked,
        Problem::TransactionAborted,
        Problem::TransactionEnded,
        Problem::StepUncertain,
        Problem::ResponseTooLarge,
        Problem::RecordUnreadable,
        Problem::Misconfigured,
    ];
    let contract = include_str!("../../../../docs/contract.md");
    let names = contract
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    for (name, _) in names {
        assert!(
            problems.iter().any(|problem| problem.name() == name),
            "{name}"
        );
    }
    problems
}

#[test]
fn x40_guide_has_each_problem_with_what_to_do() {
    let guide = std::fs::read_to_string(GUIDE).expect("the guide");
    let problems = problems();
    for problem in &problems {
        let todo = if problem.retryable() {
            "ask again"
        } else {
            "stop"
        };
        let new_key = if problem.safe_new_key() { "yes" } else { "no" };
        let row = format!(
            "| `{}` | {} | {todo}",
            problem.name(),
            problem.status().as_u16()
        );
        let mut rows = guide.lines().filter(|line| line.starts_with(&row));
        let found = rows.any(|line| line.contains(&format!(" | {new_key} | ")));
        assert!(found, "{row} … | {new_key} |");
    }
    let rows = guide.lines().filter(|line| line.starts_with("| `"));
    assert_eq!(rows.count(), problems.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn x40_clients_in_three_languages_do_what_the_guide_says() {
    let mut cases: Vec<Case> = problems().into_iter().map(Case::of).collect();
    cases.extend(Case::others());
    for client in [None, Some(Python), Some(TypeScript)] {
        // More at once would only wait for the processors.
        for some in cases.chunks(8) {
            join_all(some.iter().map(|case| case.hold(client))).await;
        }
    }
}

/// Some answers, and what a run of the client makes of them.
struct Case {
    answers: Vec<Vec<u8>>,
    printed: String,
    status: i32,
    requests: usize,
}

const PAID: &str = r#"{"id":1}"#;

impl Case {
    fn new(answers: Vec<Vec<u8>>, printed: &str, status: i32) -> Self {
        Self {
            requests: answers.len(),
            answers,
            printed: printed.to_owned(),
            status,
        }
    }

    fn of(problem: Problem) -> Self {
        let refusal = refusal(problem, &[]);
        if problem.retryable() {
            let paid = json_answer(201, &[], PAID);
            return Self::new(vec![refusal, paid], &format!("201 {PAID}"), 0);
        }
        let new_key = if problem.safe_new_key() { "yes" } else { "no" };
        let printed = format!("refused: {}; new key: {new_key}", problem.name());
        Self::new(vec![refusal], &printed, 65)
    }

    fn others() -> [Self; 13] {
        const RECORDED: &str = "idempotency-expires: @4102444800";
        let paid = || json_answer(201, &[RECORDED], PAID);
        let printed = format!("201 {PAID}");
        let own = |status| json_answer(status, &[], "{}");
        let busy = || refusal(Problem::Unavailable, &["retry-after: 1"]);
        let in_doubt = "unfinished: status 401; the invoice stays due";
        let redirect = ["location: /elsewhere"];
        [
            // No answer, and less than an answer.
            Self::new(vec![Vec::new(), paid()], &printed, 0),
            Self::new(vec![half(&paid()), paid()], &printed, 0),
            Self::new(vec![paid()[..30].to_vec(), paid()], &printed, 0),
            // The application's own "no".
            Self::new(vec![own(409)], "409 {}", 0),
            Self::new(vec![own(422)], "422 {}", 0),
            Self::new(vec![json_answer(500, &[RECORDED], "{}")], "500 {}", 0),
            Self::new(vec![own(503), own(429), paid()], &printed, 0),
            Self::new(vec![answer(307, &redirect, "")], "307 ", 0),
            // It says nothing about the attempt before it, unless it is recorded.
            Self::new(vec![own(401)], "401 {}", 0),
            Self::new(vec![Vec::new(), own(401)], in_doubt, 75),
            Self::new(vec![busy(), own(401)], in_doubt, 75),
            Self::new(
                vec![Vec::new(), json_answer(422, &[RECORDED], "{}")],
                "422 {}",
                0,
            ),
            Self::new(vec![own(429), own(401)], "401 {}", 0),
        ]
    }

    async fn hold(&self, client: Option<Language>) {
        let script = Script::start(self.answers.clone()).await;
        let (status, printed) = match client {
            Some(language) => {
                let output = language.pay(script.address, 7).output().await;
                outcome(&output.expect("a client"))
            }
            None => pay_in_rust(script.address).await,
        };
        let first = String::from_utf8_lossy(&self.answers[0]);
        let label = format!("{client:?}: {first:?}");
        assert_eq!((status, &printed), (self.status, &self.printed), "{label}");
        let asked = script.asked();
        assert_eq!(asked.len(), self.requests, "{label}");
        are_the_same(&asked, &label);
    }
}

/// As a run of the other clients, by `idem-client`.
async fn pay_in_rust(service: SocketAddr) -> (i32, String) {
    let client = Client::new(reqwest::Client::builder(), "orders.example/prod");
    let intent = client.expect("a client").once("pay-invoice", 7);
    let request = intent.post(format!("http://{service}/payments"));
    match request.json(&payment()).send().await {
        Ok(answer) => {
            let body = String::from_utf8_lossy(answer.response.body()).into_owned();
            (0, format!("{} {body}", answer.status().as_u16()))
        }
        Err(Error::Refused(refused)) => {
            let new_key = if refused.safe_new_key { "yes" } else { "no" };
            let name = refused.problem.name();
            (65, format!("refused: {name}; new key: {new_key}"))
        }
        Err(Error::Unfinished(unknown)) => {
            let Last::Answer(last) = unknown.last else {
                panic!("{unknown:?}");
            };
            let status = last.status().as_u16();
            (
                75,
                format!("unfinished: status {status}; the invoice stays due"),
            )
        }
        Err(error) => panic!("{error:?}"),
    }
}

fn payment() -> Value {
    json!({ "from": "alice", "to": "bob", "amount": 7 })
}

fn outcome(output: &Output) -> (i32, String) {
    let status = output.status.code().expect("an exit status");
    (status, printed(output).trim_end_matches('\n').to_owned())
}

/// All requests have the key and the body of the intent.
fn are_the_same(asked: &[Asked], label: &str) {
    let key = Key::derive("orders.example/prod", "pay-invoice", "7").to_string();
    for request in asked {
        let body: Value = serde_json::from_str(&request.body).expect("JSON");
        assert_eq!((&request.key, body), (&key, payment()), "{label}");
        assert_eq!(request.body, asked[0].body, "{label}");
    }
}

#[tokio::test]
async fn x40_clients_wait_as_long_as_they_are_told() {
    for language in [Python, TypeScript] {
        let later = SystemTime::now() + Duration::from_secs(3);
        let date = format!("retry-after: {}", httpdate::fmt_http_date(later));
        let answers = vec![
            refusal(Problem::Unavailable, &["retry-after: 1"]),
            refusal(Problem::Unavailable, &[&date]),
            json_answer(201, &[], PAID),
        ];
        let script = Script::start(answers).await;
        paid(language, script.address, 7).await;
        let asked = script.asked();
        let pause = asked[1].at - asked[0].at;
        assert!(pause >= Duration::from_secs(1), "{language:?}: {pause:?}");
        // The date has no fractions of a second.
        let early = later - Duration::from_secs(1);
        let late = SystemTime::now().duration_since(early);
        assert!(late.is_ok(), "{language:?}");

        let script = Script::start(vec![refusal(Problem::Unavailable, &[])]).await;
        let mut hasty = language.pay(script.address, 7);
        let output = hasty.arg("1").output().await.expect("a client");
        let unfinished = "unfinished: status 503; the invoice stays due";
        assert_eq!(
            outcome(&output),
            (75, unfinished.to_owned()),
            "{language:?}"
        );
        let asked = script.asked();
        assert!(asked.len() > 1, "{language:?}");
        assert!(asked[asked.len() - 1].at - asked[0].at < Duration::from_secs(1));
    }
}

#[tokio::test]
async fn x40_request_that_cannot_be_made_is_an_error_at_once() {
    for language in [Python, TypeScript] {
        let output = language.pay_at("nowhere", 7).output().await;
        let output = output.expect("a client");
        assert_eq!(outcome(&output), (1, String::new()), "{language:?}");
    }
}

#[tokio::test]
async fn examples_have_types() {
    let mut mypy = program("mypy");
    mypy.args([
        "--strict",
        "--python-version",
        "3.10",
        "--cache-dir",
        "/dev/null",
    ]);
    mypy.arg(Path::new(CLIENTS).join("python"));
    let mut tsc = tsc();
    tsc.args([
        "--noEmit",
        "--strict",
        "--noUncheckedIndexedAccess",
        "--erasableSyntaxOnly",
    ]);
    tsc.args([
        "--allowImportingTsExtensions",
        "--target",
        "esnext",
        "--module",
        "nodenext",
        "--types",
        "node",
    ]);
    tsc.arg(Path::new(CLIENTS).join("typescript/pay.ts"));
    for mut checker in [mypy, tsc] {
        let output = checker.output().await.expect("a checker of types");
        assert!(output.status.success(), "{}", printed(&output));
    }
}
