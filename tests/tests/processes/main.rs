//! The test service as a process: restarts, kills, and its API; and the examples.

mod api;
mod examples;
mod lives;
mod openapi;

use std::time::Duration;

use idem_tests::{Database, Driver, Site, Wires};
use sqlx::Pool;
use tokio::runtime::Builder;

/// Instantiates tests for the test service on every framework and database. A test is an `async fn` that takes a
/// `&Site<D>`.
macro_rules! on_every_site {
    ($($test:ident,)*) => {
        crate::on_site!(sqlite Sqlite "service-axum" [$($test)*]);
        crate::on_site!(postgres Postgres "service-axum" [$($test)*]);
        crate::on_site!(mysql Mysql "service-axum" [$($test)*]);
        crate::on_site!(actix_sqlite Sqlite "service-actix" [$($test)*]);
        crate::on_site!(actix_postgres Postgres "service-actix" [$($test)*]);
        crate::on_site!(actix_mysql Mysql "service-actix" [$($test)*]);
    };
}

/// Instantiates tests for one program on one database.
macro_rules! on_site {
    ($name:ident $database:ident $program:literal [$($test:ident)*]) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    type Site = idem_tests::Site<idem_tests::$database>;
                    crate::run($program, async |site: &Site| super::$test(site).await);
                }
            )*
        }
    };
}

pub(crate) use {on_every_site, on_site};

fn run<D: Database>(program: &'static str, test: impl AsyncFnOnce(&Site<D>)) {
    use futures_util::FutureExt as _;
    use std::panic::{AssertUnwindSafe, resume_unwind};

    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let database = D::create().await;
        let site = Site { database, program };
        let tested = AssertUnwindSafe(test(&site)).catch_unwind().await;
        site.database.remove().await;
        if let Err(panic) = tested {
            resume_unwind(panic);
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

/// A connection beside the service's own.
async fn observer<D: Database>(site: &Site<D>) -> Pool<Driver<D>> {
    let wires = Wires {
        connections: 1,
        ..Wires::default()
    };
    site.database.connect(wires).await
}
