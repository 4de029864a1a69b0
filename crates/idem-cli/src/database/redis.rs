//! Redis and Valkey, which have records and runs in the same place, and no tables.

use idem_core::StepStore;
use idem_redis::redis::cluster::ClusterClient;
use idem_redis::redis::{Client, cmd};
use idem_redis::{Durability, Redis, RedisStore};

use super::{Engines, Setup, engine, not_a_url, refuse, within};
use crate::arguments::{Arguments, Place};
use crate::commands;
use crate::failure::{Failure, Kind};
use crate::output::Report;

pub(super) async fn run(arguments: &Arguments, url: &str) -> Result<Report, Failure> {
    let place = &arguments.place;
    refuse(place.schema.as_ref(), "`--schema`; use `--key-prefix`")?;
    refuse(
        place.table_prefix.as_ref(),
        "`--table-prefix`; use `--key-prefix`",
    )?;
    let mut store = connect(url, place).await?;
    if let Some(prefix) = &place.key_prefix {
        store = store.with_prefix(prefix);
    }
    if let Some(replicas) = place.replicas {
        store = store.with_durability(Durability::Replicas(replicas));
    }
    let steps = engine(store.steps(), place);
    let engines = Engines::<Redis> {
        records: steps.clone(),
        steps,
    };
    commands::run(arguments, &engines).await
}

/// A store on the server of the URL, or on the cluster that the server is in: a part of a cluster's keys would be
/// erased and counted as if it were all of them.
async fn connect(url: &str, place: &Place) -> Result<RedisStore, Failure> {
    let client = Client::open(url).map_err(|error| not_a_url(&error))?;
    let mut connection = within(place, client.get_multiplexed_async_connection()).await?;
    let mut info = cmd("INFO");
    let info = info.arg("cluster").query_async::<String>(&mut connection);
    let info = info.await.map_err(|error| {
        let message = format!("whether the server is in a cluster is unknown: {error}");
        Failure::new(Kind::Problem, message)
    })?;
    let store = if info.contains("cluster_enabled:1") {
        let client = ClusterClient::builder([url])
            .retries(2)
            .connection_timeout(place.connect_timeout());
        let client = client.build().map_err(|error| not_a_url(&error))?;
        RedisStore::new_cluster(client)
    } else {
        RedisStore::new(client)
    };
    Ok(store.with_timeout(place.connect_timeout()))
}

impl Setup for Redis {
    type Records = StepStore<Self>;

    const NAME: &'static str = "redis";

    const FIT: &'static str =
        "no fault found: the server keeps what it is given, and this user can run scripts\n";

    const IS_PURGED: bool = false;

    async fn check(engines: &Engines<Self>) -> Result<(), Failure> {
        Ok(engines.steps.store().runs().check().await?)
    }

    async fn migrate(_: &Engines<Self>, _: bool) -> Result<bool, Failure> {
        let message =
            "Redis has no tables, so there is nothing to migrate; `idem check` looks at the server";
        Err(Failure::new(Kind::Usage, message))
    }
}
