//! The page of `examples/payments`, as a person uses it.

use idem_browser::{Browser, Scripts};
use idem_tests::{Database as _, Domain as _, Service, Site, Sqlite, Wires};
use tokio::runtime::Runtime;

#[test]
fn r2_payment_that_is_sent_again_is_made_once() {
    let page = Page::open();
    let key = page.browser.value("#key");
    page.click("#send", "Paid.");
    page.assert_newest("Send\n", &["201 Created"]);
    page.click("#again", "Not paid again. This is the first answer, ");
    page.assert_newest(
        "Send again\n",
        &["201 Created", "Idempotency-Replayed: true"],
    );
    page.assert_numbers(2, 2, 1);
    assert_eq!(page.text("#accounts"), "alice 99,500\nbob 100,500");
    let record = page.text("#records");
    let expected = format!("{key} succeeded, 201 ");
    assert!(record.starts_with(&expected), "{record}");
    assert_eq!(page.payments(), 1);
}

#[test]
fn m1_payment_that_is_changed_is_refused() {
    let page = Page::open();
    page.click("#send", "Paid.");
    let title = "Idempotency key was used for another request";
    page.click("#changed", &format!("422. {title}."));
    page.assert_newest(
        "Send changed\n",
        &["amount 501", "422 Unprocessable Entity", title],
    );
    page.click("#again", "Not paid again.");
    page.assert_numbers(3, 3, 1);
    assert_eq!(page.text("#accounts"), "alice 99,500\nbob 100,500");
    assert_eq!(page.payments(), 1);
}

#[test]
fn o10_payment_whose_answer_is_lost_is_made_once() {
    let page = Page::open();
    page.click("#drop", "No answer.");
    page.assert_newest("Drop the connection\n", &["No answer"]);
    page.wait_for("#made", "1");
    page.assert_numbers(1, 0, 1);
    page.click("#again", "Not paid again.");
    page.assert_newest(
        "Send again\n",
        &["201 Created", "Idempotency-Replayed: true"],
    );
    page.assert_numbers(2, 1, 1);
    assert_eq!(page.payments(), 1);
}

#[test]
fn c1_payment_that_is_sent_twice_at_once_is_made_once() {
    let page = Page::open();
    page.browser.click("#twice");
    page.browser.wait_until("two answers", |browser| {
        browser.text("#log").matches("201 Created").count() == 2
    });
    let answers = page.text("#log");
    assert_eq!(
        answers.matches("Idempotency-Replayed").count(),
        1,
        "{answers}"
    );
    page.assert_numbers(2, 2, 1);
    let key = page.browser.value("#key");
    page.browser.click("#fresh");
    assert_ne!(page.browser.value("#key"), key);
    page.assert_numbers(0, 0, 0);
    page.click("#send", "Paid.");
    page.assert_numbers(1, 1, 1);
    assert_eq!(page.payments(), 2);
}

/// The page in a browser, and its service on a database of its own.
struct Page {
    browser: Browser,
    _service: Service,
    site: Site<Sqlite>,
    runtime: Runtime,
}

impl Page {
    fn open() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let site = Site {
            database: runtime.block_on(Sqlite::create()),
            program: "payments",
        };
        let service = runtime.block_on(Service::start(&site));
        let browser = Browser::start(Scripts::On);
        browser.open(&format!("http://{}/", service.address));
        Self {
            browser,
            _service: service,
            site,
            runtime,
        }
    }

    fn text(&self, selector: &str) -> String {
        self.browser.text(selector)
    }

    fn wait_for(&self, selector: &str, beginning: &str) {
        self.browser.wait_until(beginning, |browser| {
            browser.text(selector).starts_with(beginning)
        });
    }

    /// Clicks on a button, and waits for the beginning of the result that it has.
    fn click(&self, button: &str, result: &str) {
        self.browser.click(button);
        self.wait_for("#result", result);
    }

    /// Asserts the title of the newest answer, and its other texts.
    #[track_caller]
    fn assert_newest(&self, title: &str, texts: &[&str]) {
        let answer = self.text("#log li");
        assert!(answer.starts_with(title), "{answer}");
        for text in texts {
            assert!(answer.contains(text), "{text}: {answer}");
        }
        let replayed = texts.iter().any(|text| text.contains("Replayed"));
        assert_eq!(answer.contains("Replayed"), replayed, "{answer}");
    }

    /// Asserts the requests, answers and payments of the key.
    #[track_caller]
    fn assert_numbers(&self, sent: usize, answered: usize, made: usize) {
        let shown = ["#sent", "#answered", "#made"].map(|number| self.text(number));
        assert_eq!(
            shown,
            [sent, answered, made].map(|number| number.to_string())
        );
    }

    /// The payments in the database.
    fn payments(&self) -> i64 {
        self.runtime.block_on(async {
            let pool = self.site.database.connect(Wires::default()).await;
            let mut connection = pool.acquire().await.expect("a connection");
            let count = connection.number("SELECT count(*) FROM payments").await;
            count.expect("a number")
        })
    }
}
