//! Forms of a browser that runs no JavaScript, with their key in a hidden field.

mod actix;
mod axum;
mod orders;

use idem_browser::{Browser, Scripts};

use orders::Service;

/// The field with the key, in a page with a form.
const KEY: &str = "input[name=idempotency_key]";
const ITEM: &str = "input[name=item]";
const ORDER: &str = "button[value=order]";
const RECEIPT: &str = "button[value=receipt]";

/// Makes a test for each framework.
macro_rules! on_both {
    ($($test:ident),* $(,)?) => {
        mod on_axum {
            $(#[test] fn $test() { super::$test(&crate::axum::start()); })*
        }
        mod on_actix {
            $(#[test] fn $test() { super::$test(&crate::actix::start()); })*
        }
    };
}

on_both![
    c1_double_click_has_one_effect,
    r2_form_that_is_sent_again_after_back_is_replayed,
    r2_page_that_is_reloaded_is_replayed,
    m2_fresh_form_has_a_new_key,
    m4_form_that_is_corrected_keeps_its_key,
];

fn c1_double_click_has_one_effect(service: &Service) {
    let browser = browser();
    let mut most = 0;
    for number in 1..=3 {
        fresh_form(&browser, service, "book");
        let before = service.posts();
        browser.double_click(ORDER);
        assert_eq!(done(&browser), number.to_string());
        assert_eq!(service.rows(), number);
        most = most.max(service.posts() - before);
    }
    assert_eq!(most, 2, "the browser has not sent a form twice");
}

fn r2_form_that_is_sent_again_after_back_is_replayed(service: &Service) {
    let browser = browser();
    fresh_form(&browser, service, "book");
    let key = browser.value(KEY);
    browser.click(ORDER);
    assert_eq!(done(&browser), "1");
    browser.back();
    assert_eq!(
        (browser.value(KEY), browser.value(ITEM)),
        (key, "book".to_owned())
    );
    browser.click(ORDER);
    assert_eq!(done(&browser), "1");
    assert_eq!((service.posts(), service.rows()), (2, 1));
}

fn r2_page_that_is_reloaded_is_replayed(service: &Service) {
    let browser = browser();
    fresh_form(&browser, service, "book");
    browser.click(RECEIPT);
    browser.wait_until("a receipt", |browser| browser.title() == "Receipt");
    let receipt = browser.text("#order");
    browser.reload();
    browser.wait_until("a second request", |_| service.posts() == 2);
    browser.wait_until("a receipt", |browser| browser.title() == "Receipt");
    assert_eq!(
        (receipt.as_str(), browser.text("#order")),
        ("1", receipt.clone())
    );
    assert_eq!((service.posts(), service.rows()), (2, 1));
}

fn m2_fresh_form_has_a_new_key(service: &Service) {
    let browser = browser();
    fresh_form(&browser, service, "book");
    let key = browser.value(KEY);
    browser.click(ORDER);
    assert_eq!(done(&browser), "1");
    fresh_form(&browser, service, "book");
    assert_ne!(browser.value(KEY), key);
    browser.click(ORDER);
    assert_eq!(done(&browser), "2");
    assert_eq!(service.rows(), 2);
}

fn m4_form_that_is_corrected_keeps_its_key(service: &Service) {
    let browser = browser();
    fresh_form(&browser, service, "");
    let key = browser.value(KEY);
    browser.click(ORDER);
    browser.wait_until("a complaint", |browser| browser.title() == "Which item?");
    assert_eq!((browser.value(KEY), service.rows()), (key, 0));
    browser.fill(ITEM, "book");
    browser.click(ORDER);
    assert_eq!(done(&browser), "1");
    assert_eq!((service.posts(), service.rows()), (2, 1));
}

/// A browser whose JavaScript is off, and the proof of it.
fn browser() -> Browser {
    let browser = Browser::start(Scripts::Off);
    assert_eq!(title_by(&browser), "off");
    browser
}

/// Opens a page whose script changes the page's title.
fn title_by(browser: &Browser) -> String {
    browser.open("data:text/html,<title>off</title><script>document.title='on'</script>");
    browser.title()
}

#[test]
fn scripts_run_where_they_are_on() {
    assert_eq!(title_by(&Browser::start(Scripts::On)), "on");
}

fn fresh_form(browser: &Browser, service: &Service, item: &str) {
    browser.open(&service.url("/form"));
    assert_eq!(browser.title(), "Form");
    browser.fill(ITEM, item);
}

/// The number of the order on the page at which a person arrives.
fn done(browser: &Browser) -> String {
    browser.wait_until("an order", |browser| browser.title() == "Done");
    let number = browser.text("#order");
    assert!(
        browser
            .address()
            .ends_with(&format!("/done?order={number}"))
    );
    number
}
