//! The environment of one test: a fresh database, and instances of the service on it.

use std::fmt::Display;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use idem_core::{Config, Engine, PostgresStore, StepStore};
use sqlx::Pool;
use sqlx::pool::PoolConnection;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::client::Request;
use crate::control::Control;
use crate::database::{Choices, Database, Driver, Wires};
use crate::domain::{App, Domain as _, StepEngine};
use crate::framework::{Deploy, Framework};

/// The time for all pools and sessions to recover after a test. A lost connection never comes back.
const WHOLE: Duration = Duration::from_secs(20);

/// How long an instance may take to end.
const TIMEOUT: Duration = Duration::from_secs(20);

/// One test's database, instances and control.
#[derive(Debug)]
pub struct World<F, D: Database> {
    /// The test's control over the handlers.
    pub control: Arc<Control>,
    /// The test's own database.
    pub database: D,
    observer: Pool<Driver<D>>,
    instances: Mutex<Vec<Arc<Instance<D>>>>,
    framework: PhantomData<F>,
}

/// The settings of an instance.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// The instance's connections.
    pub wires: Wires,
    /// The store's settings.
    pub choices: Choices,
    /// The engine's settings.
    pub config: Config,
    /// The instance's release of the service.
    pub deploy: Deploy,
}

impl Settings {
    /// With these settings of a PostgreSQL store.
    pub fn of_store(postgres: fn(PostgresStore) -> PostgresStore) -> Self {
        Self {
            choices: Choices { postgres },
            ..Self::default()
        }
    }
}

/// The settings of an engine that allows this many attempts at once.
pub fn max_in_flight(attempts: usize) -> Config {
    Config::new().with_max_in_flight(attempts)
}

impl From<Wires> for Settings {
    fn from(wires: Wires) -> Self {
        Self {
            wires,
            ..Self::default()
        }
    }
}

/// One instance of the service: a pool, an engine and a server of its own.
#[derive(Debug)]
pub struct Instance<D: Database> {
    /// Where it listens.
    pub address: SocketAddr,
    /// Its engine.
    pub engine: Engine<D::Store>,
    /// Its engine of handlers with steps. Their tables are made by [`World::with_steps`].
    pub steps: Engine<StepStore<D::Connection>>,
    /// Its connections.
    pub pool: Pool<Driver<D>>,
    server: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl<F: Framework<D>, D: Database> World<F, D> {
    /// A world on a fresh database.
    pub async fn create() -> Self {
        Self::on(D::create().await).await
    }

    /// A world on this database.
    pub async fn on(database: D) -> Self {
        let wires = Wires {
            connections: 2,
            ..Wires::default()
        };
        Self {
            control: Arc::new(Control::default()),
            observer: database.connect(wires).await,
            database,
            instances: Mutex::default(),
            framework: PhantomData,
        }
    }

    /// One more instance with the default settings.
    pub async fn instance(&self) -> Arc<Instance<D>> {
        self.instance_with(Settings::default()).await
    }

    /// One more instance with this many connections.
    pub async fn instance_of(&self, connections: u32) -> Arc<Instance<D>> {
        let mut settings = Settings::default();
        settings.wires.connections = connections;
        self.instance_with(settings).await
    }

    /// One more instance, with the tables of steps.
    pub async fn with_steps(&self) -> Arc<Instance<D>> {
        let instance = self.instance().await;
        let migrated = instance.steps.store().migrate().await;
        migrated.expect("the tables of steps can be made");
        instance
    }

    /// One more instance of a release.
    pub async fn deployed(&self, deploy: Deploy) -> Arc<Instance<D>> {
        let settings = Settings {
            deploy,
            ..Settings::default()
        };
        self.instance_with(settings).await
    }

    /// One more instance whose engine has these settings.
    pub async fn configured(&self, config: Config) -> Arc<Instance<D>> {
        let settings = Settings {
            config,
            ..Settings::default()
        };
        self.instance_with(settings).await
    }

    /// One more instance.
    pub async fn instance_with(&self, settings: Settings) -> Arc<Instance<D>> {
        let pool = self.database.connect(settings.wires).await;
        let store = D::store(pool.clone(), settings.choices).await;
        let store = store.expect("the store migrates");
        let steps = StepStore::<D::Connection>::new(store.clone());
        let steps = Engine::with_config(steps, settings.config.clone());
        let engine = Engine::with_config(store, settings.config);
        let app = App {
            engine: engine.clone(),
            steps: StepEngine(steps.clone()),
            pool: pool.clone(),
            control: Arc::clone(&self.control),
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (stop, stopped) = oneshot::channel();
        let server = F::serve(app, settings.deploy, listener, stopped);
        let instance = Arc::new(Instance {
            address,
            engine,
            steps,
            pool,
            server: Mutex::new(Some((stop, tokio::spawn(server)))),
        });
        lock(&self.instances).push(Arc::clone(&instance));
        instance
    }

    /// A connection of the test's own.
    pub async fn observe(&self) -> PoolConnection<Driver<D>> {
        self.observer.acquire().await.expect("a connection")
    }

    /// The same, if the server may be down.
    ///
    /// # Errors
    ///
    /// If the server can't be reached.
    pub async fn try_observe(&self) -> sqlx::Result<PoolConnection<Driver<D>>> {
        self.observer.acquire().await
    }

    /// How many effects a tenant has.
    pub async fn effects(&self, tenant: &str) -> i64 {
        self.number(format!(
            "SELECT count(*) FROM effects WHERE tenant = '{tenant}'"
        ))
        .await
    }

    /// How many records there are.
    pub async fn records(&self) -> i64 {
        self.number(format!("SELECT count(*) FROM {}", D::RECORDS))
            .await
    }

    /// The only integer in a query's result.
    pub async fn number(&self, sql: impl Display) -> i64 {
        let mut connection = self.observe().await;
        let number = connection.number(&sql.to_string()).await;
        number.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// The number of records whose stored response contains this text.
    pub async fn responses_with(&self, text: &str) -> i64 {
        let digits = |hex: String, byte| format!("{hex}{byte:02x}");
        let hex = text.bytes().fold(String::new(), digits);
        let (records, has) = (D::RECORDS, D::has(&hex));
        self.number(format!("SELECT count(*) FROM {records} WHERE {has}"))
            .await
    }

    /// The only text in a query's result.
    pub async fn text(&self, sql: impl Display) -> String {
        let mut connection = self.observe().await;
        let text = connection.text(&sql.to_string()).await;
        text.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Runs SQL. Returns the number of changed rows.
    pub async fn run(&self, sql: impl Display) -> u64 {
        let mut connection = self.observe().await;
        let done = connection.run(&sql.to_string()).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Moves the expiry of every record into the past, so that the records have just expired.
    pub async fn expire(&self) {
        let (records, now, second) = (D::RECORDS, D::NOW, D::SECOND);
        let age = format!("expires_at - {now} + {second}");
        let expired = self
            .run(format!(
                "UPDATE {records} SET settled_at = settled_at - ({age}), expires_at = {now} - {second}"
            ))
            .await;
        assert!(expired > 0, "there was a record to expire");
    }

    /// Ends all instances. After a test that succeeded, every pool and every session must be
    /// complete.
    pub async fn end(self, check: bool) {
        if !check {
            self.control.tear_down();
        }
        let instances = std::mem::take(&mut *lock(&self.instances));
        join_all(instances.iter().map(|instance| instance.end(check))).await;
        if check {
            self.assert_no_session_is_left().await;
        }
        self.observer.close().await;
        self.database.remove().await;
    }

    async fn assert_no_session_is_left(&self) {
        let mut connection = self.observe().await;
        let until = Instant::now() + WHOLE;
        loop {
            let unfinished = D::unfinished(&mut connection).await;
            if unfinished == 0 {
                return;
            }
            assert!(
                Instant::now() < until,
                "{unfinished} sessions are left inside a transaction"
            );
            sleep(Duration::from_millis(10)).await;
        }
    }
}

impl<D: Database> Instance<D> {
    /// A POST of the tenant `acme`.
    pub fn post(&self, target: &str) -> Request {
        self.request("POST", target)
    }

    /// A request of the tenant `acme`.
    pub fn request(&self, method: &str, target: &str) -> Request {
        Request::new(self.address, method, target)
    }

    /// Shuts the instance down in order, as a deploy does, and checks that its pool is complete.
    pub async fn stop(&self) {
        self.end(true).await;
    }

    /// All connections of the pool at once: none of them may be in use.
    pub async fn whole_pool(&self) -> Vec<PoolConnection<Driver<D>>> {
        let connections = self.pool.options().get_max_connections();
        let all = join_all((0..connections).map(|_| self.acquire()));
        let all = timeout(WHOLE, all).await;
        all.unwrap_or_else(|_| {
            let (open, idle) = (self.pool.size(), self.pool.num_idle());
            panic!("{open} of {connections} connections are open, {idle} of them idle")
        })
    }

    /// Waits until a connection is in use.
    pub async fn is_busy(&self) {
        let is_idle = || self.pool.num_idle() == self.pool.size() as usize;
        let busy = async {
            while is_idle() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(TIMEOUT, busy).await.expect("a connection in use");
    }

    /// Waits until a connection stays in use, as that of a writer does that waits for another one.
    pub async fn stays_busy(&self) {
        const LONG: Duration = Duration::from_millis(500);
        let until = Instant::now() + TIMEOUT;
        let mut since = Instant::now();
        while since.elapsed() < LONG {
            if self.pool.num_idle() == self.pool.size() as usize {
                since = Instant::now();
            }
            assert!(Instant::now() < until, "no connection stays in use");
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// A connection, even if the pool's own timeout is short.
    async fn acquire(&self) -> PoolConnection<Driver<D>> {
        loop {
            match self.pool.acquire().await {
                Err(sqlx::Error::PoolTimedOut) => {}
                acquired => return acquired.expect("a connection"),
            }
        }
    }

    async fn end(&self, check: bool) {
        let Some((stop, server)) = lock(&self.server).take() else {
            return;
        };
        let _ = stop.send(());
        let ended = timeout(TIMEOUT, async {
            server.await.expect("the server ends in order");
            self.engine.drain().await;
        });
        let ended = ended.await;
        if check {
            ended.expect("the instance ends");
            if !self.pool.is_closed() {
                drop(self.whole_pool().await);
            }
        }
        drop(timeout(TIMEOUT, self.pool.close()).await);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
