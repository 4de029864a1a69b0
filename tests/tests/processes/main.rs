//! The example services as processes: restarts, kills, and their API.

mod api;
mod lives;

use std::time::Duration;

use idem_tests::{Database, Driver, Wires};
use sqlx::Pool;
use tokio::runtime::Builder;

/// Instantiates tests for every database. A test is an `async fn` that takes a `&D`.
macro_rules! on_every_database {
    ($($test:ident,)*) => {
        crate::on_every_database!(sqlite Sqlite [$($test)*]);
        crate::on_every_database!(postgres Postgres [$($test)*]);
    };
    ($name:ident $database:ident [$($test:ident)*]) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    crate::run(async |database: &idem_tests::$database| super::$test(database).await);
                }
            )*
        }
    };
}

pub(crate) use on_every_database;

fn run<D: Database>(test: impl AsyncFnOnce(&D)) {
    use futures_util::FutureExt as _;
    use std::panic::{AssertUnwindSafe, resume_unwind};

    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let database = D::create().await;
        let tested = AssertUnwindSafe(test(&database)).catch_unwind().await;
        database.remove().await;
        if let Err(panic) = tested {
            resume_unwind(panic);
        }
    });
    runtime.shutdown_timeout(Duration::from_secs(1));
}

/// A connection beside the service's own.
async fn observer<D: Database>(database: &D) -> Pool<Driver<D>> {
    let wires = Wires {
        connections: 1,
        ..Wires::default()
    };
    database.connect(wires).await
}
