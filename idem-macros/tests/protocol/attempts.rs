//! What happens to a claim and to its transaction.

use idem_macros::{idempotent_actix, idempotent_axum};

use crate::actix::__private::{Argument, Extracted};
use crate::adapter::{Attempt, CalledByTheFramework, Savepoint};
use crate::axum::__private::Body;
use crate::run;

#[idempotent_axum(ttl = "2s", scope = "tenant", crate = crate::axum)]
async fn axum(tx: &mut Savepoint<'_>, attempt: &Attempt, tenant: Box<str>, body: String) -> String {
    let _: &Attempt = attempt;
    tx.write(format!("{tenant} writes"));
    body
}

#[idempotent_actix(ttl = "2s", scope = "tenant", crate = crate::actix)]
async fn actix(body: String, tx: &mut Savepoint<'_>, tenant: Box<str>) -> String {
    tx.write(format!("{tenant} writes"));
    body
}

fn answers(body: &str, raw: &'static str) -> [String; 2] {
    let (value, tenant) = (body.to_owned(), "acme".into());
    let axum = axum(CalledByTheFramework::new(), tenant, Body { value, raw });
    let actix = actix(Extracted {
        request: CalledByTheFramework::new(),
        arguments: (
            Argument(body.to_owned(), Some("String")),
            Argument("acme".into(), None),
        ),
        raw,
        http: "http",
    });
    [run(axum), run(actix)]
}

#[test]
fn a_response_that_is_kept_closes_the_transaction_to_keep_it() {
    let expected = "2s [acme] body fine, acme writes, closed true, returned, fine";
    let [axum, actix] = answers("fine", "");
    assert_eq!(axum, expected);
    assert_eq!(actix, format!("{expected} http"));
}

#[test]
fn a_failed_response_closes_the_transaction_to_undo_it() {
    let expected = "2s [acme] body failed, acme writes, closed false, returned, failed";
    let [axum, actix] = answers("failed", "");
    assert_eq!(axum, expected);
    assert_eq!(actix, format!("{expected} http"));
}

#[test]
fn a_transaction_that_does_not_open_runs_no_handler() {
    let expected = "2s [acme] body fine, returned, not opened";
    for answer in answers("fine", "broken") {
        assert_eq!(answer, expected);
    }
}
