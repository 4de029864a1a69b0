//! The three databases: which one a URL means, and how to connect to it.

use std::future::Future;

use idem_core::{Config, ConfigError, Engine, SqlStepConnection, StepStore, Store, StoreError};

use crate::arguments::{Arguments, Place};
use crate::failure::{Failure, Kind};
use crate::output::Report;

/// The work that stores do outside of [`Store`].
pub(crate) trait Setup: Store {
    async fn migrate(&self) -> Result<(), StoreError>;
    async fn check(&self) -> Result<(), StoreError>;
}

/// The engines of one database: that of the records, and that of runs with their records.
pub(crate) struct Engines<C: SqlStepConnection> {
    pub(crate) records: Engine<C::Store>,
    pub(crate) steps: Engine<StepStore<C>>,
}

impl<C: SqlStepConnection> Engines<C> {
    fn new(store: C::Store, place: &Place) -> Self {
        Self {
            steps: engine(StepStore::new(store.clone()), place),
            records: engine(store, place),
        }
    }
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
        // The scheme is not shown: without one, it can be a part of a password.
        _ => Err(Failure::usage(concat!(
            "the URL of the database has to begin with `postgres:`, `mysql:`, `mariadb:` or `sqlite:`, ",
            "and this program has to be built with the feature of that database",
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

fn refuse(option: Option<&String>, says: &str) -> Result<(), Failure> {
    option.map_or(Ok(()), |_| {
        Err(Failure::usage(&format!("this database has no {says}")))
    })
}

fn refused(error: &ConfigError) -> Failure {
    Failure::usage(&error.to_string())
}

/// Waits for a connection, and then makes the pool: a pool alone would try again until its time is over,
/// and not say why.
async fn within<T>(
    place: &Place,
    connected: impl Future<Output = sqlx::Result<T>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(place.connect_timeout(), connected).await {
        Ok(connected) => connected.map_err(|error| Failure::unavailable(&error)),
        Err(elapsed) => Err(Failure::unavailable(&elapsed)),
    }
}

fn not_a_url(error: &sqlx::Error) -> Failure {
    Failure::new(Kind::Usage, format!("the URL of the database: {error}"))
}

macro_rules! database {
    (
        $feature:literal $module:ident $options:ident $connection:ident $pool:ident $pools:ident
        $store:ident $(.$choice:ident)?, $name:ident => $placed:ident, $other:ident => $refusal:literal
    ) => {
        #[cfg(feature = $feature)]
        mod $module {
            use std::str::FromStr as _;

            use idem_core::{StoreError, $store};
            use sqlx::$module::{$options, $pools};
            use sqlx::{ConnectOptions as _, Connection as _, $connection, $pool};

            use super::{Engines, Setup, not_a_url, refuse, refused, within};
            use crate::arguments::{Arguments, Place};
            use crate::commands;
            use crate::failure::Failure;
            use crate::output::Report;

            pub(super) async fn run(arguments: &Arguments, url: &str) -> Result<Report, Failure> {
                let place = &arguments.place;
                refuse(place.$other.as_ref(), $refusal)?;
                let pool = connect(url, place).await?;
                let mut store = $store::new(pool.clone())$(.$choice())?;
                if let Some(name) = &place.$name {
                    store = store.$placed(name).map_err(|error| refused(&error))?;
                }
                let engines = Engines::<$connection>::new(store, place);
                let done = commands::run(arguments, $feature, &engines).await;
                pool.close().await;
                done
            }

            async fn connect(url: &str, place: &Place) -> Result<$pool, Failure> {
                let options = $options::from_str(url).map_err(|error| not_a_url(&error))?;
                let options = options.disable_statement_logging();
                let one = async { options.connect().await?.close().await };
                within(place, one).await?;
                let pool = $pools::new().max_connections(2);
                let pool = pool.acquire_timeout(place.connect_timeout());
                Ok(pool.connect_lazy_with(options))
            }

            impl Setup for $store {
                async fn migrate(&self) -> Result<(), StoreError> {
                    $store::migrate(self).await
                }

                async fn check(&self) -> Result<(), StoreError> {
                    $store::check(self).await
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
