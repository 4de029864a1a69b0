//! A client of `WebDriver`, for tests with a real browser. It has no more than these tests need.

mod wire;

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use wire::Driver;

/// The driver in whose browsers the tests run.
const SERVER: &str = "IDEM_TEST_WEBDRIVER_URL";

/// Longer than any page of a test may take.
const TIMEOUT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(20);

/// The time between the clicks of a person's double click.
const BETWEEN_CLICKS: Duration = Duration::from_millis(100);

/// The member by which the protocol names an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Whether pages may run scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scripts {
    /// As in most browsers.
    On,
    /// JavaScript is switched off in the settings.
    Off,
}

/// A browser of its own with one window, without a screen and with an empty profile. Dropping it ends it.
#[derive(Debug)]
pub struct Browser {
    driver: Driver,
    session: String,
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Panics
    ///
    /// If `IDEM_TEST_WEBDRIVER_URL` is not set, or if its driver starts no browser. Every other function panics if the
    /// driver or the page does not do what is asked.
    pub fn start(scripts: Scripts) -> Self {
        let url =
            env::var(SERVER).unwrap_or_else(|_| panic!("set {SERVER} or run `cargo xtask test`"));
        let driver = Driver::at(&url);
        // By the pipe the browser sees the end of its driver, and ends, too.
        let arguments = [
            "--headless=new",
            "--disable-dev-shm-usage",
            "--remote-debugging-pipe",
        ];
        let javascript = match scripts {
            Scripts::On => 1,
            Scripts::Off => 2,
        };
        let options = json!({
            "args": arguments,
            "prefs": { "profile.default_content_setting_values.javascript": javascript },
        });
        let capabilities = json!({ "alwaysMatch": { "goog:chromeOptions": options } });
        let started = driver.post("/session", &json!({ "capabilities": capabilities }));
        let id = started["sessionId"].as_str().expect("a session has an id");
        Self {
            driver,
            session: format!("/session/{id}"),
        }
    }

    /// Opens a page, and returns when it is loaded.
    pub fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// Goes back to the page before.
    pub fn back(&self) {
        self.post("/back", &json!({}));
    }

    /// Loads the page again. A request that sent a form is sent again.
    pub fn reload(&self) {
        self.post("/refresh", &json!({}));
    }

    /// The address of the page.
    pub fn address(&self) -> String {
        text_of(&self.get("/url"))
    }

    /// The title of the page.
    pub fn title(&self) -> String {
        text_of(&self.get("/title"))
    }

    /// The visible text of the first element that the CSS selector matches.
    pub fn text(&self, selector: &str) -> String {
        text_of(&self.get(&format!("/element/{}/text", self.find(selector))))
    }

    /// The value of the field that the CSS selector matches.
    pub fn value(&self, selector: &str) -> String {
        text_of(&self.get(&format!("/element/{}/property/value", self.find(selector))))
    }

    /// Types a text into a field, in place of the text that the field has.
    pub fn fill(&self, selector: &str, text: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{element}/clear"), &json!({}));
        self.post(
            &format!("/element/{element}/value"),
            &json!({ "text": text }),
        );
    }

    /// Scrolls to the element that the CSS selector matches, and clicks on it.
    pub fn click(&self, selector: &str) {
        let element = self.find(selector);
        self.post(&format!("/element/{element}/click"), &json!({}));
    }

    /// Clicks twice, as fast as a person does.
    pub fn double_click(&self, selector: &str) {
        let origin = json!({ ELEMENT: self.find(selector) });
        let pause = BETWEEN_CLICKS.as_millis();
        let actions = json!([
            { "type": "pointerMove", "origin": origin, "x": 0, "y": 0 },
            { "type": "pointerDown", "button": 0 },
            { "type": "pointerUp", "button": 0 },
            { "type": "pause", "duration": pause },
            { "type": "pointerDown", "button": 0 },
            { "type": "pointerUp", "button": 0 },
        ]);
        let mouse = json!({ "type": "pointer", "id": "mouse", "actions": actions });
        self.post("/actions", &json!({ "actions": [mouse] }));
    }

    /// Waits until the page meets a condition.
    ///
    /// # Panics
    ///
    /// If it takes too long.
    pub fn wait_until(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + TIMEOUT;
        while !condition(self) {
            assert!(
                Instant::now() < deadline,
                "{what}: not on the page {}",
                self.address()
            );
            thread::sleep(PAUSE);
        }
    }

    fn find(&self, selector: &str) -> String {
        let query = json!({ "using": "css selector", "value": selector });
        text_of(&self.post("/element", &query)[ELEMENT])
    }

    fn get(&self, path: &str) -> Value {
        self.driver.get(&format!("{}{path}", self.session))
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.driver.post(&format!("{}{path}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A driver that is gone has ended its browsers.
        let _ = self.driver.delete(&self.session);
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
