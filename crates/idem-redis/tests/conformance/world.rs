//! The environment of one test: keys of its own on a server, and instances of the service.

use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use idem_core::{Config, Engine, ReplayCache, StepStore};
use idem_redis::redis::{Client, FromRedisValue, ToRedisArgs, cmd};
use idem_redis::{Redis, RedisStore};
use idem_tests::{Control, Request, Threads};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::place;
use crate::provider::Provider;
use crate::server::{self, Private};
use crate::service::{App, Framework};

/// How long an instance may take to end.
const TIMEOUT: Duration = Duration::from_secs(20);

/// With a replay cache, for longer than a test takes.
pub(crate) fn caching() -> Config {
    Config::new().with_replay_cache(ReplayCache::new(1024 * 1024, Duration::from_hours(1)))
}

/// Instantiates tests, such as `axum::r3_replay_is_byte_identical`, for each framework. With `traced:` everything is
/// on one thread, where `Traces` and `Metrics` see it.
macro_rules! conformance {
    (traced: $($test:ident,)*) => {
        conformance!(axum Axum One [$($test)*]);
        conformance!(actix Actix One [$($test)*]);
    };
    ($($test:ident,)*) => {
        conformance!(axum Axum Many [$($test)*]);
        conformance!(actix Actix Many [$($test)*]);
    };
    ($name:ident $framework:ident $threads:ident [$($test:ident)*]) => {
        mod $name {
            $(
                #[test]
                fn $test() {
                    type World = crate::world::World<idem_tests::$framework>;
                    let test = async |world: &World| super::$test(world).await;
                    crate::world::run(idem_tests::Threads::$threads, test);
                }
            )*
        }
    };
}

pub(crate) use conformance;

/// Runs one test in a world of its own. Its instances are stopped even if the test fails.
pub(crate) fn run<F: Framework>(threads: Threads, test: impl AsyncFnOnce(&World<F>)) {
    threads.block_on(async {
        let world = World::new();
        let tested = AssertUnwindSafe(test(&world)).catch_unwind().await;
        let ended = AssertUnwindSafe(world.end(tested.is_ok()));
        let ended = ended.catch_unwind().await;
        if let Err(panic) = tested.and(ended) {
            resume_unwind(panic);
        }
    });
}

/// One test's keys, instances and control.
pub(crate) struct World<F> {
    pub(crate) control: Arc<Control>,
    pub(crate) provider: Arc<Provider>,
    prefix: String,
    instances: Mutex<Vec<Arc<Instance>>>,
    framework: PhantomData<F>,
}

/// One instance of the service: a store, an engine and a server of its own.
pub(crate) struct Instance {
    pub(crate) address: SocketAddr,
    pub(crate) engine: Engine<StepStore<Redis>>,
    server: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl<F: Framework> World<F> {
    fn new() -> Self {
        Self {
            control: Arc::default(),
            provider: Arc::default(),
            prefix: place::prefix(),
            instances: Mutex::default(),
            framework: PhantomData,
        }
    }

    /// One more instance with the default settings.
    pub(crate) async fn instance(&self) -> Arc<Instance> {
        self.configured(Config::new()).await
    }

    /// One more instance whose engine has these settings.
    pub(crate) async fn configured(&self, config: Config) -> Arc<Instance> {
        let store = place::store_at(&self.prefix).await;
        self.with(&store, config)
    }

    /// One more instance, with a replay cache.
    pub(crate) async fn cached(&self) -> Arc<Instance> {
        self.configured(caching()).await
    }

    /// One more instance, on another server.
    pub(crate) fn on(&self, server: &Private, config: Config) -> Arc<Instance> {
        self.within(server, Duration::from_secs(1), config)
    }

    /// One more instance, whose commands may take this long.
    pub(crate) fn within(
        &self,
        server: &Private,
        timeout: Duration,
        config: Config,
    ) -> Arc<Instance> {
        let client = Client::open(server.url()).expect("a URL");
        let store = RedisStore::new(client).with_timeout(timeout);
        self.with(&store.with_prefix(&self.prefix), config)
    }

    /// One more instance.
    pub(crate) fn with(&self, store: &RedisStore, config: Config) -> Arc<Instance> {
        let engine = Engine::with_config(store.steps(), config);
        let app = self.app(engine.clone());
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound listener");
        let (stop, stopped) = oneshot::channel();
        let server = tokio::spawn(F::serve(app, listener, stopped));
        let instance = Arc::new(Instance {
            address,
            engine,
            server: Mutex::new(Some((stop, server))),
        });
        lock(&self.instances).push(Arc::clone(&instance));
        instance
    }

    /// The service of one instance.
    pub(crate) fn app(&self, engine: Engine<StepStore<Redis>>) -> App {
        App {
            engine,
            control: Arc::clone(&self.control),
            provider: Arc::clone(&self.provider),
        }
    }

    /// How many effects the other service has made.
    pub(crate) fn effects(&self) -> usize {
        self.provider.effects()
    }

    /// The keys of the runs and the records.
    pub(crate) async fn keys(&self) -> Vec<String> {
        self.run(&format!("KEYS {}*", self.prefix)).await
    }

    /// The only one of them.
    pub(crate) async fn key(&self) -> String {
        let mut keys = self.keys().await;
        assert_eq!(keys.len(), 1, "{keys:?}");
        keys.remove(0)
    }

    /// The server's time, in microseconds.
    pub(crate) async fn now(&self) -> i64 {
        let [seconds, micros] = self.run::<[i64; 2]>("TIME").await;
        seconds * 1_000_000 + micros
    }

    /// Runs a command, each word of it an argument.
    pub(crate) async fn run<T: FromRedisValue>(&self, command: &str) -> T {
        server::run(&place::url(), command).await
    }

    /// Sets a field of a run or a record.
    pub(crate) async fn set_field(&self, key: &str, name: &str, value: impl ToRedisArgs) {
        let mut command = cmd("HSET");
        command.arg(key).arg(name).arg(value);
        server::query::<i64>(&place::url(), &command).await;
    }

    /// Sets fields of the only run or record.
    pub(crate) async fn set(&self, fields: &str) {
        let key = self.key().await;
        self.run::<i64>(&format!("HSET {key} {fields}")).await;
    }

    /// Moves the expiry of every run and record into the past. The server keeps them all the same.
    pub(crate) async fn expire(&self) {
        let keys = self.keys().await;
        assert!(!keys.is_empty(), "there was a record to expire");
        for key in keys {
            let past = format!("HSET {key} expires_at 1 leased_until 1");
            self.run::<i64>(&past).await;
        }
    }

    async fn end(self, check: bool) {
        if !check {
            self.control.tear_down();
        }
        let instances = std::mem::take(&mut *lock(&self.instances));
        for instance in instances {
            instance.stop().await;
        }
    }
}

impl Instance {
    /// A POST of the tenant `acme`.
    pub(crate) fn post(&self, target: &str) -> Request {
        self.request("POST", target)
    }

    /// A request of the tenant `acme`.
    pub(crate) fn request(&self, method: &str, target: &str) -> Request {
        Request::new(self.address, method, target)
    }

    /// Shuts the instance down in order, as a deploy does.
    pub(crate) async fn stop(&self) {
        let Some((stop, server)) = lock(&self.server).take() else {
            return;
        };
        let _ = stop.send(());
        let ended = async {
            server.await.expect("the server ends in order");
            self.engine.drain().await;
        };
        timeout(TIMEOUT, ended).await.expect("the instance ends");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
