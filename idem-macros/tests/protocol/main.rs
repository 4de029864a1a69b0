//! The generated code, compiled and run against the names that an adapter's `__private` has for it. There is no
//! framework and no database here: each name does as little as it can.

// Constants that a pattern of the generated code must not be compared with.
#![allow(non_upper_case_globals, dead_code)]
#![allow(
    clippy::extra_unused_type_parameters,
    clippy::unused_self,
    reason = "the names have the signatures of an adapter's"
)]

use std::pin::pin;
use std::task::{Context, Poll, Waker};

mod actix;
mod adapter;
mod attempts;
mod axum;
mod names;

/// The output of a future that never waits.
fn run<F: Future>(future: F) -> F::Output {
    let mut context = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut context) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("the future waits"),
    }
}
