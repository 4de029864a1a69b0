//! The contract of a store, on every store there is.

mod checks;
mod particular;
mod places;
mod pooler;

use idem_core::store::contract::Subject;
use idem_core::store::contract::runs::RunSubject;
use idem_core::{PostgresStore, StepStore, Store};
use idem_tests::{Choices, Database, Domain as _, Driver, Wires};
use sqlx::Pool;

mod sqlite {
    idem_core::store_contract!(super::Fresh::<idem_tests::Sqlite>::create().await);
}

mod postgres {
    idem_core::store_contract!(super::Fresh::<idem_tests::Postgres>::create().await);
}

mod record_in_commit {
    idem_core::store_contract!(super::Fresh::<idem_tests::RecordInCommit>::create().await);
}

mod mysql {
    idem_core::store_contract!(super::Fresh::<idem_tests::Mysql>::create().await);
}

mod runs {
    mod sqlite {
        idem_core::run_contract!(crate::FreshRuns::<idem_tests::Sqlite>::create().await);
    }

    mod postgres {
        idem_core::run_contract!(crate::FreshRuns::<idem_tests::Postgres>::create().await);
    }

    mod record_in_commit {
        idem_core::run_contract!(crate::FreshRuns::<idem_tests::RecordInCommit>::create().await);
    }

    mod mysql {
        idem_core::run_contract!(crate::FreshRuns::<idem_tests::Mysql>::create().await);
    }
}

/// On a database that does not allow functions.
mod plain {
    idem_core::store_contract!(super::Fresh::<idem_tests::Postgres>::plain().await);
}

/// On the schema of an earlier release, before `migrate()`.
mod earlier {
    idem_core::store_contract!(super::Fresh::<idem_tests::Postgres>::earlier().await);
}

mod unnamed_statements {
    idem_core::store_contract!(super::Fresh::<idem_tests::Postgres>::unnamed().await);
}

/// Through `PgBouncer` in transaction mode.
mod pooled {
    idem_core::store_contract!(super::Fresh::<idem_tests::Postgres>::pooled().await);
}

/// A fresh database with a store on it.
struct Fresh<D: Database> {
    database: D,
    pool: Pool<Driver<D>>,
    store: D::Store,
    /// What is between the pool and the server.
    pooler: Option<pooler::Pooler>,
}

impl<D: Database> Fresh<D> {
    async fn create() -> Self {
        let database = D::create().await;
        let pool = database.connect(Wires::default()).await;
        let store = D::store(pool.clone(), Choices::default()).await;
        let store = store.expect("the store migrates");
        Self {
            database,
            pool,
            store,
            pooler: None,
        }
    }

    async fn remove(self) {
        self.pool.close().await;
        drop(self.pooler);
        self.database.remove().await;
    }
}

/// The same with the tables of runs.
struct FreshRuns<D: Database> {
    fresh: Fresh<D>,
    steps: StepStore<D::Connection>,
}

impl<D: Database> FreshRuns<D> {
    async fn create() -> Self {
        let fresh = Fresh::<D>::create().await;
        let steps = StepStore::new(fresh.store.clone());
        steps.migrate().await.expect("the store migrates");
        Self { fresh, steps }
    }
}

impl<D: Database> RunSubject for FreshRuns<D> {
    type Connection = D::Connection;

    fn store(&self) -> &StepStore<D::Connection> {
        &self.steps
    }

    async fn end(self) {
        self.fresh.remove().await;
    }
}

impl Fresh<idem_tests::Postgres> {
    async fn plain() -> Self {
        let undo = "DROP ROUTINE idem.claim, idem.record, idem.claim_first, idem.record_first, idem.try_lock; \
             DELETE FROM idem.migrations WHERE version > 1";
        Self::create().await.undone(undo).await
    }

    async fn earlier() -> Self {
        let undo = "DROP ROUTINE idem.claim_first, idem.record_first; \
             DELETE FROM idem.migrations WHERE version > 2";
        Self::create().await.undone(undo).await
    }

    async fn undone(mut self, undo: &str) -> Self {
        let mut connection = self.pool.acquire().await.expect("a connection");
        connection.run(undo).await.expect("undoes");
        drop(connection);
        self.store = PostgresStore::new(self.pool.clone());
        self
    }

    async fn unnamed() -> Self {
        let mut this = Self::create().await;
        this.store = PostgresStore::new(this.pool.clone()).with_unnamed_statements();
        this
    }
}

impl<D: Database> Subject for Fresh<D> {
    type Store = D::Store;

    fn store(&self) -> &D::Store {
        &self.store
    }

    fn scope(&self) -> String {
        "acme".to_owned()
    }

    async fn write(&self, connection: &mut <D::Store as Store>::Connection, effect: &str) {
        let insert = format!("INSERT INTO effects (tenant, label) VALUES ('acme', '{effect}')");
        connection.run(&insert).await.expect("writes");
    }

    async fn count(&self, effect: &str) -> u64 {
        let mut connection = self.pool.acquire().await.expect("a connection");
        let count = format!("SELECT count(*) FROM effects WHERE label = '{effect}'");
        let count = connection.number(&count).await.expect("a number");
        count.try_into().expect("not negative")
    }

    async fn end(self) {
        self.remove().await;
    }
}
