//! The contract of a store, on every store there is.

use idem_core::Store;
use idem_core::store::contract::Subject;
use idem_tests::{Choices, Database, Domain as _, Driver, Wires};
use sqlx::Pool;

mod sqlite {
    idem_core::store_contract!(super::Fresh::<idem_tests::Sqlite>::create().await);
}

mod postgres {
    idem_core::store_contract!(super::Fresh::<idem_tests::Postgres>::create().await);
}

/// A fresh database with a store on it.
struct Fresh<D: Database> {
    database: D,
    pool: Pool<Driver<D>>,
    store: D::Store,
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
        }
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
        self.pool.close().await;
        self.database.remove().await;
    }
}
