//! Runs every test on every pair of framework and database.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::runtime::{Builder, Runtime};

use crate::database::Database;
use crate::framework::Framework;
use crate::metrics::Metrics;
use crate::traces::Traces;
use crate::world::World;

/// Instantiates tests, such as `axum_postgres::r3_replay_is_byte_identical`, for every pair. These
/// words can stand before the tests:
///
/// - `on Postgres:` for one database, `on [Sqlite Postgres]:` for some
/// - `by Actix:` for one framework
/// - `traced:` for everything on one thread, where [`Traces`](crate::Traces) and
///   [`Metrics`](crate::Metrics) see it
/// - `traced on Postgres:` for both
///
/// A test is an `async fn` with the parameters `F: Framework<D>` and `D: Database`, which takes a
/// `&World<F, D>`.
#[macro_export]
macro_rules! conformance {
    (traced: $($test:ident,)*) => {
        $crate::__frameworks!([] One [$($test)*]);
    };
    (traced on $database:ident: $($test:ident,)*) => {
        $crate::__frameworks!([$database] One [$($test)*]);
    };
    (on $database:ident: $($test:ident,)*) => {
        $crate::__frameworks!([$database] Many [$($test)*]);
    };
    (on [$($database:ident)*]: $($tests:tt)*) => {
        $crate::__some!([$($database)*] $($tests)*);
    };
    (by $framework:ident: $($test:ident,)*) => {
        $crate::__databases!($framework [] Many [$($test)*]);
    };
    ($($test:ident,)*) => {
        $crate::__frameworks!([] Many [$($test)*]);
    };
}

/// The frameworks, a line for each.
#[doc(hidden)]
#[macro_export]
macro_rules! __frameworks {
    ($($rest:tt)*) => {
        $crate::__databases!(Axum $($rest)*);
        $crate::__databases!(Actix $($rest)*);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __some {
    ([] $($tests:tt)*) => {};
    ([$database:ident $($more:ident)*] $($tests:tt)*) => {
        $crate::conformance!(on $database: $($tests)*);
        $crate::__some!([$($more)*] $($tests)*);
    };
}

/// The databases, a line for each.
#[doc(hidden)]
#[macro_export]
macro_rules! __databases {
    ($framework:ident [] $($rest:tt)*) => {
        $crate::__pair!($framework Sqlite $($rest)*);
        $crate::__pair!($framework Postgres $($rest)*);
        $crate::__pair!($framework RecordInCommit $($rest)*);
        $crate::__pair!($framework Mysql $($rest)*);
    };
    ($framework:ident [$database:ident] $($rest:tt)*) => {
        $crate::__pair!($framework $database $($rest)*);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __pair {
    ($framework:ident $database:ident $threads:ident [$($test:ident)*]) => {
        $crate::__private::paste! {
            mod [<$framework:snake _ $database:snake>] {
                $(
                    #[test]
                    fn $test() {
                        type World = $crate::World<$crate::$framework, $crate::$database>;
                        let test = async |world: &World| super::$test(world).await;
                        $crate::run($crate::Threads::$threads, test);
                    }
                )*
            }
        }
    };
}

/// Runs one test in a world of its own. The world is cleaned up even if the test fails.
///
/// # Panics
///
/// If the test panics, or if it leaves a session, a connection or an instance open.
pub fn run<F: Framework<D>, D: Database>(threads: Threads, test: impl AsyncFnOnce(&World<F, D>)) {
    threads.block_on(async {
        let world = World::create().await;
        let tested = AssertUnwindSafe(test(&world)).catch_unwind().await;
        let ended = AssertUnwindSafe(world.end(tested.is_ok()));
        let ended = ended.catch_unwind().await;
        if let Err(panic) = tested.and(ended) {
            resume_unwind(panic);
        }
    });
}

/// The threads of a test and its instances.
#[derive(Debug, Clone, Copy)]
pub enum Threads {
    /// Only the test's own thread.
    One,
    /// Several threads, so that requests run in parallel.
    Many,
}

impl Threads {
    /// Runs a test to its end. On one thread, it is traced.
    pub fn block_on(self, test: impl Future<Output = ()>) {
        let runtime = self.runtime();
        let _traces = self.are_traced().then(Traces::install);
        let _metrics = self.are_traced().then(Metrics::install);
        runtime.block_on(test);
        runtime.shutdown_timeout(Duration::from_secs(1));
    }

    fn are_traced(self) -> bool {
        matches!(self, Self::One)
    }

    fn runtime(self) -> Runtime {
        let mut builder = match self {
            Self::One => Builder::new_current_thread(),
            Self::Many => Builder::new_multi_thread(),
        };
        let runtime = builder.worker_threads(2).enable_all().build();
        runtime.expect("a runtime")
    }
}
