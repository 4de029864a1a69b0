//! A service that takes orders by a form: the parts that do not depend on the framework.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use idem_axum::{Engine, SqliteStore};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{SqliteConnection, SqlitePool};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Long enough that the second click of a double click comes while the first one's order is placed.
const WORK: Duration = Duration::from_millis(400);

/// A running service with a database of its own.
pub(crate) struct Service {
    address: SocketAddr,
    app: App,
    runtime: Runtime,
    _folder: TempDir,
}

/// The state of the handlers.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) pool: SqlitePool,
    pub(crate) engine: Engine<SqliteStore>,
    /// The requests that could place an order, counted before the attribute sees them.
    pub(crate) posts: Arc<AtomicUsize>,
}

impl Service {
    /// Starts a service on a free port, and answers its requests by `serve`.
    pub(crate) fn start<F>(serve: impl FnOnce(App, TcpListener) -> F) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = Runtime::new().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("orders.db"))
            .create_if_missing(true);
        let app = runtime.block_on(App::on(options));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let unblocked = listener.set_nonblocking(true);
        unblocked.expect("a listener for tokio");
        let address = listener.local_addr().expect("an address");
        let _context = runtime.enter();
        runtime.spawn(serve(app.clone(), listener));
        Self {
            address,
            app,
            runtime,
            _folder: folder,
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn posts(&self) -> usize {
        self.app.posts.load(Ordering::Relaxed)
    }

    pub(crate) fn rows(&self) -> i64 {
        let count = sqlx::query_scalar("SELECT count(*) FROM orders");
        let count = count.fetch_one(&self.app.pool);
        self.runtime.block_on(count).expect("a count")
    }
}

impl App {
    async fn on(options: SqliteConnectOptions) -> Self {
        let pool = SqlitePool::connect_with(options).await;
        let pool = pool.expect("a database");
        let table = "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL)";
        let created = sqlx::query(table).execute(&pool).await;
        created.expect("a table");
        let store = SqliteStore::new(pool.clone());
        store.migrate().await.expect("the tables of idem");
        Self {
            pool,
            engine: Engine::new(store),
            posts: Arc::default(),
        }
    }

    pub(crate) fn count(&self) {
        self.posts.fetch_add(1, Ordering::Relaxed);
    }

    /// The page with the form, with a key that no form had before or with the key of a form that failed.
    pub(crate) async fn form(&self, failed: Option<&str>) -> String {
        let fresh = sqlx::query_scalar("SELECT hex(randomblob(16))").fetch_one(&self.pool);
        let fresh: String = fresh.await.expect("a random key");
        let title = failed.map_or("Form", |_| "Which item?");
        let key: String = failed
            .unwrap_or(&fresh)
            .chars()
            .filter(char::is_ascii_alphanumeric)
            .collect();
        format!(
            r#"<!doctype html><title>{title}</title><form method="post" action="/orders">
            <input type="hidden" name="idempotency_key" value="{key}"> <input name="item">
            <button value="order">Order</button>
            <button value="receipt" formaction="/receipts">Order, with a receipt</button></form>"#
        )
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct NewOrder {
    pub(crate) idempotency_key: String,
    pub(crate) item: String,
}

#[derive(Deserialize)]
pub(crate) struct Done {
    pub(crate) order: i64,
}

#[derive(Deserialize)]
pub(crate) struct Failed {
    pub(crate) failed: Option<String>,
}

impl NewOrder {
    /// The number of the order.
    pub(crate) async fn place(&self, tx: &mut SqliteConnection) -> i64 {
        let insert = sqlx::query("INSERT INTO orders (item) VALUES ($1)").bind(&self.item);
        let inserted = insert.execute(tx).await.expect("a row");
        tokio::time::sleep(WORK).await;
        inserted.last_insert_rowid()
    }

    /// Where the browser goes for another try, with the same key.
    pub(crate) fn again(&self) -> String {
        format!("/form?failed={}", self.idempotency_key)
    }
}

pub(crate) fn page(title: &str, order: i64) -> String {
    format!(r#"<!doctype html><title>{title}</title>Order <b id="order">{order}</b>"#)
}
