//! Outboxes on every database.
#![allow(clippy::unwrap_used, reason = "the functions are tests by a macro")]

mod end_to_end;
mod pushes;
mod relays;
mod site;
mod steps;

/// Makes tests of functions that take a database.
macro_rules! on_all {
    ($($test:ident),+ $(,)?) => {$(
        mod $test {
            use idem_tests::{Mysql, Postgres, Sqlite};

            #[tokio::test(flavor = "multi_thread")]
            async fn sqlite() {
                super::$test::<Sqlite>().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn postgres() {
                super::$test::<Postgres>().await;
            }

            #[tokio::test(flavor = "multi_thread")]
            async fn mysql() {
                super::$test::<Mysql>().await;
            }
        }
    )+};
}
use on_all;
