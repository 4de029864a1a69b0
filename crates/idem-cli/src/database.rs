//! The databases: which one a URL means, and how to connect to it.

use std::future::Future;

use idem_core::{Config, Engine, StepConnection, StepStore, Store};

use crate::arguments::{Arguments, Place};
use crate::failure::Failure;
use crate::output::Report;

/// A database, by the type of its connections, and the work that its stores do outside of [`Store`].
pub(crate) trait Setup: StepConnection + Sized {
    type Records: Store;

    const NAME: &'static str;

    /// What a check that finds no fault says.
    const FIT: &'static str =
        "no fault found: the tables fit this release, and this role can use them\n";

    /// Whether an expired record is there until it is purged.
    const IS_PURGED: bool = true;

    async fn check(engines: &Engines<Self>) -> Result<(), Failure>;

    /// Returns whether there is a place for runs then.
    async fn migrate(engines: &Engines<Self>, steps: bool) -> Result<bool, Failure>;
}

/// The engines of one database: that of the records, and that of runs with their records.
pub(crate) struct Engines<C: Setup> {
    pub(crate) records: Engine<C::Records>,
    pub(crate) steps: Engine<StepStore<C>>,
}

/// Connects and runs the command.
pub(crate) async fn run(arguments: &Arguments) -> Result<Report, Failure> {
    let place = &arguments.place;
    let url = place.url()?;
    if place.namespace.as_deref() == Some("") {
        return Err(Failure::usage("the namespace is empty"));
    }
    match url.split_once(':').map_or("", |(scheme, _)| scheme) {
        #[cfg(feature = "postgres")]
        "postgres" | "postgresql" => postgres::run(arguments, &url).await,
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => mysql::run(arguments, &url).await,
        #[cfg(feature = "sqlite")]
        "sqlite" => sqlite::run(arguments, &url).await,
        #[cfg(feature = "redis")]
        "redis" | "rediss" => redis::run(arguments, &url).await,
        // The scheme is not shown: without one, it can be a part of a password.
        _ => Err(Failure::usage(concat!(
            "the URL of the database has to begin with `postgres:`, `mysql:`, `mariadb:`, `sqlite:`, `redis:` or ",
            "`rediss:`, and this program has to be built with the feature of that database",
        ))),
    }
}

fn engine<S: Store>(store: S, place: &Place) -> Engine<S> {
    let config = place
        .namespace
        .iter()
        .fold(Config::new(), |config, name| config.with_namespace(name));
    Engine::with_config(store, config)
}

fn refuse<T>(option: Option<T>, says: &str) -> Result<(), Failure> {
    option.map_or(Ok(()), |_| {
        Err(Failure::usage(&format!("this database has no {says}")))
    })
}

/// Waits for a connection.
async fn within<T, E: std::error::Error + 'static>(
    place: &Place,
    connected: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(place.connect_timeout(), connected).await {
        Ok(connected) => connected.map_err(|error| Failure::unavailable(&error)),
        Err(elapsed) => Err(Failure::unavailable(&elapsed)),
    }
}

fn not_a_url(error: &dyn std::error::Error) -> Failure {
    Failure::usage(&format!("the URL of the database: {error}"))
}

macro_rules! database {
    (
        $feature:literal $module:ident $options:ident $connection:ident $pool:ident $pools:ident
        $store:ident $(.$choice:ident)?, $name:ident => $placed:ident, $other:ident => $refusal:literal
    ) => {
        #[cfg(feature = $feature)]
        mod $module {
            use std::str::FromStr as _;

            use idem_core::{$store, StepStore};
            use sqlx::$module::{$options, $pools};
            use sqlx::{ConnectOptions as _, Connection as _, $connection, $pool};

            use super::{Engines, Setup, engine, not_a_url, refuse, within};
            use crate::arguments::{Arguments, Place};
            use crate::failure::Failure;
            use crate::output::Report;
            use crate::{commands, runs};

            pub(super) async fn run(arguments: &Arguments, url: &str) -> Result<Report, Failure> {
                let place = &arguments.place;
                refuse(place.$other.as_ref(), $refusal)?;
                refuse(place.key_prefix.as_ref(), "`--key-prefix`")?;
                refuse(place.replicas, "`--replicas`")?;
                let pool = connect(url, place).await?;
                let mut store = $store::new(pool.clone())$(.$choice())?;
                if let Some(name) = &place.$name {
                    let placed = store.$placed(name);
                    store = placed.map_err(|error| Failure::usage(&error.to_string()))?;
                }
                let engines = Engines::<$connection> {
                    steps: engine(StepStore::new(store.clone()), place),
                    records: engine(store, place),
                };
                let done = commands::run(arguments, &engines).await;
                pool.close().await;
                done
            }

            async fn connect(url: &str, place: &Place) -> Result<$pool, Failure> {
                let options = $options::from_str(url).map_err(|error| not_a_url(&error))?;
                let options = options.disable_statement_logging();
                // A pool alone would try again until its time is over, and not say why.
                let one = async { options.connect().await?.close().await };
                within(place, one).await?;
                let pool = $pools::new().max_connections(2);
                let pool = pool.acquire_timeout(place.connect_timeout());
                Ok(pool.connect_lazy_with(options))
            }

            impl Setup for $connection {
                type Records = $store;

                const NAME: &'static str = $feature;

                async fn check(engines: &Engines<Self>) -> Result<(), Failure> {
                    engines.records.store().check().await?;
                    if runs::have_tables(&engines.steps).await? {
                        engines.steps.store().check().await?;
                    }
                    Ok(())
                }

                async fn migrate(engines: &Engines<Self>, steps: bool) -> Result<bool, Failure> {
                    engines.records.store().migrate().await?;
                    let steps = steps || runs::have_tables(&engines.steps).await.unwrap_or(true);
                    if steps {
                        engines.steps.store().migrate().await?;
                    }
                    Ok(steps)
                }
            }
        }
    };
}

// Without names for statements, so that any pooler will do.
database!(
    "postgres" postgres PgConnectOptions PgConnection PgPool PgPoolOptions
    PostgresStore.with_unnamed_statements, schema => try_with_schema, table_prefix => "`--table-prefix`; use `--schema`"
);
database!(
    "mysql" mysql MySqlConnectOptions MySqlConnection MySqlPool MySqlPoolOptions
    MySqlStore, table_prefix => try_with_table_prefix, schema => "`--schema`; use `--table-prefix`"
);
database!(
    "sqlite" sqlite SqliteConnectOptions SqliteConnection SqlitePool SqlitePoolOptions
    SqliteStore, table_prefix => try_with_table_prefix, schema => "`--schema`; use `--table-prefix`"
);

#[cfg(feature = "redis")]
mod redis;
