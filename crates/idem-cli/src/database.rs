//! The three databases: which one a URL means, and how to connect to it.

use std::future::Future;

use idem_core::{Config, ConfigError, Engine, Store, StoreError};

use crate::arguments::{Arguments, Place};
use crate::commands;
use crate::failure::{Failure, Kind};
use crate::output::Report;

/// The work that stores do outside of [`Store`].
pub(crate) trait Setup: Store {
    async fn migrate(&self) -> Result<(), StoreError>;
    async fn check(&self) -> Result<(), StoreError>;
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
        "postgres" | "postgresql" => {
            refuse(
                place.table_prefix.as_ref(),
                "`--table-prefix`; use `--schema`",
            )?;
            let pool = postgres::connect(&url, place).await?;
            // So any pooler will do.
            let mut store = idem_core::PostgresStore::new(pool.clone()).with_unnamed_statements();
            if let Some(schema) = &place.schema {
                store = store
                    .try_with_schema(schema)
                    .map_err(|error| refused(&error))?;
            }
            let done = commands::run(arguments, "postgres", &engine(store, place)).await;
            pool.close().await;
            done
        }
        #[cfg(feature = "mysql")]
        "mysql" | "mariadb" => {
            refuse(place.schema.as_ref(), "`--schema`; use `--table-prefix`")?;
            let pool = mysql::connect(&url, place).await?;
            let mut store = idem_core::MySqlStore::new(pool.clone());
            if let Some(prefix) = &place.table_prefix {
                store = store
                    .try_with_table_prefix(prefix)
                    .map_err(|error| refused(&error))?;
            }
            let done = commands::run(arguments, "mysql", &engine(store, place)).await;
            pool.close().await;
            done
        }
        #[cfg(feature = "sqlite")]
        "sqlite" => {
            refuse(place.schema.as_ref(), "`--schema`; use `--table-prefix`")?;
            let pool = sqlite::connect(&url, place).await?;
            let mut store = idem_core::SqliteStore::new(pool.clone());
            if let Some(prefix) = &place.table_prefix {
                store = store
                    .try_with_table_prefix(prefix)
                    .map_err(|error| refused(&error))?;
            }
            let done = commands::run(arguments, "sqlite", &engine(store, place)).await;
            pool.close().await;
            done
        }
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
    ($feature:literal $module:ident $store:ident $options:ident $pool:ident $pools:ident) => {
        #[cfg(feature = $feature)]
        mod $module {
            use std::str::FromStr as _;

            use idem_core::{StoreError, $store};
            use sqlx::$module::{$options, $pools};
            use sqlx::{ConnectOptions as _, Connection as _, $pool};

            use super::{Setup, not_a_url, within};
            use crate::arguments::Place;
            use crate::failure::Failure;

            pub(super) async fn connect(url: &str, place: &Place) -> Result<$pool, Failure> {
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

database!("postgres" postgres PostgresStore PgConnectOptions PgPool PgPoolOptions);
database!("mysql" mysql MySqlStore MySqlConnectOptions MySqlPool MySqlPoolOptions);
database!("sqlite" sqlite SqliteStore SqliteConnectOptions SqlitePool SqlitePoolOptions);
