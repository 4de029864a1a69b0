//! Keys in Redis: what a request costs beside no store and beside a pattern by hand.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use idem_redis::RedisStore;
use idem_redis::redis::aio::MultiplexedConnection;
use idem_redis::redis::{AsyncConnectionConfig, Client, FromRedisValue, Script, cmd};
use xtask::server::{REDIS, Server};

use crate::contestant::redis::Contestant;
use crate::delay::Delay;
use crate::load::{self, Client as _, HttpClient, Service};
use crate::machine::Fact;
use crate::plan::{Keys, Pace};
use crate::race::{self, Ratio, Tally};
use crate::report::{Table, milliseconds};

/// The title of a race.
pub(crate) fn title(keys: Keys, clients: usize) -> String {
    let what = match keys {
        Keys::Replay => "replays",
        Keys::Fresh | Keys::Mixed => "fresh",
    };
    let plural = if clients == 1 { "" } else { "s" };
    format!("Redis, HTTP, loopback, {clients} client{plural}, {what}")
}

/// A server of the benchmark alone.
pub(crate) struct Ground {
    server: Server,
}

impl Ground {
    /// As Redis is often run: its file is flushed once a second.
    pub(crate) async fn start() -> Result<Self> {
        Self::with("appendfsync", "everysec").await
    }

    /// Without its file, which a million writes at once would be the load of.
    async fn without_file() -> Result<Self> {
        Self::with("appendonly", "no").await
    }

    async fn with(name: &str, value: &str) -> Result<Self> {
        let server = Server::start(&REDIS)?;
        let ground = Self { server };
        ground.run::<()>(&["CONFIG", "SET", name, value]).await?;
        Ok(ground)
    }

    pub(crate) async fn facts(&self) -> Result<Vec<Fact>> {
        let version = self.info("redis_version").await?;
        let settings = "appendonly = yes, appendfsync = everysec, save = \"\"";
        Ok(vec![
            ("Redis", version),
            ("its settings", settings.to_owned()),
        ])
    }

    async fn connection(&self, url: &str) -> Result<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        let client = Client::open(url)?;
        let connection = client.get_multiplexed_async_connection_with_config(&config);
        Ok(connection.await?)
    }

    async fn run<T: FromRedisValue>(&self, command: &[&str]) -> Result<T> {
        let (name, arguments) = command.split_first().context("a command has a name")?;
        let mut connection = self.connection(self.server.url()).await?;
        Ok(cmd(name)
            .arg(arguments)
            .query_async(&mut connection)
            .await?)
    }

    async fn info(&self, name: &str) -> Result<String> {
        let info: String = self.run(&["INFO"]).await?;
        let mut lines = info.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(value.context("INFO has it")?.to_owned())
    }

    async fn memory(&self) -> Result<f64> {
        Ok(self.info("used_memory").await?.parse()?)
    }

    async fn service(&self, contestant: Contestant, url: &str) -> Result<Service> {
        let store = RedisStore::connect(url).await?;
        let connection = self.connection(url).await?;
        Service::start(contestant.router(&store, &connection)).await
    }
}

/// A contestant in a race.
struct Runner {
    keys: Keys,
    clients: Vec<HttpClient>,
    tally: Tally,
    _service: Service,
}

impl Runner {
    async fn start(
        ground: &Ground,
        contestant: Contestant,
        name: &str,
        keys: Keys,
        clients: usize,
    ) -> Result<Self> {
        let service = ground.service(contestant, ground.server.url()).await?;
        let mut clients = service.clients(clients).await?;
        race::warm_up(&mut clients, keys).await?;
        Ok(Self {
            keys,
            clients,
            tally: Tally::new(name.to_owned()),
            _service: service,
        })
    }

    async fn measure(&mut self, length: Duration) -> Result<()> {
        let load = race::prepare(&mut self.clients, self.keys).await?;
        let slice = load::drive(&mut self.clients, &load, length).await?;
        self.tally.add(&slice, length);
        Ok(())
    }
}

/// Runs every contestant once a round, in another order each round.
async fn by_turns(mut runners: Vec<Runner>, pace: Pace) -> Result<Vec<Tally>> {
    let count = runners.len();
    for round in 0..pace.rounds {
        for turn in 0..count {
            let runner = &mut runners[race::place(round, turn, count)];
            let done = runner.measure(pace.slice).await;
            done.with_context(|| runner.tally.name.clone())?;
        }
    }
    Ok(runners.into_iter().map(|runner| runner.tally).collect())
}

/// All contestants, on one server.
pub(crate) async fn race(
    ground: &Ground,
    keys: Keys,
    clients: usize,
    pace: Pace,
) -> Result<Vec<Tally>> {
    let mut runners = Vec::new();
    for contestant in Contestant::ALL {
        let keys = match (contestant, keys) {
            (Contestant::Stateless, _) => Keys::Fresh,
            // Its replays are those of the handler without a step.
            (Contestant::Called, Keys::Replay) => continue,
            (_, keys) => keys,
        };
        let name = match keys {
            Keys::Replay => format!("{}, replay", contestant.name()),
            Keys::Fresh | Keys::Mixed => contestant.name().to_owned(),
        };
        let runner = Runner::start(ground, contestant, &name, keys, clients).await;
        runners.push(runner.context(name)?);
    }
    by_turns(runners, pace).await
}

/// The longest value of a hash that Redis stores without a table.
const LONGEST: &str = "hash-max-listpack-value";

/// How many requests the round trips are counted of.
const COUNTED: usize = 20;

/// The round trips of a request, and the memory of a record.
pub(crate) async fn cost(ground: &Ground, records: usize) -> Result<String> {
    let mut table = Table::new(&[
        "",
        "round trips, fresh",
        "round trips, replay",
        "bytes per record",
    ]);
    let compact = "idem, no step, compact hashes";
    for (name, contestant) in [
        (Contestant::ByHand.name(), Contestant::ByHand),
        (Contestant::Claimed.name(), Contestant::Claimed),
        (Contestant::Called.name(), Contestant::Called),
        (compact, Contestant::Claimed),
    ] {
        let longest = if name == compact { "1024" } else { "64" };
        ground
            .run::<()>(&["CONFIG", "SET", LONGEST, longest])
            .await?;
        let (fresh, replay) = round_trips(ground, contestant).await?;
        let service = ground.service(contestant, ground.server.url()).await?;
        let mut clients = service.clients(16).await?;
        race::warm_up(&mut clients, Keys::Fresh).await?;
        let before = ground.memory().await?;
        let recorded = load::record(&mut clients, records).await?;
        let memory = ground.memory().await? - before;
        let count = f64::from(u32::try_from(recorded.len())?);
        table.row([
            name.to_owned(),
            format!("{fresh:.1}"),
            format!("{replay:.1}"),
            format!("{:.0}", memory / count),
        ]);
        ground.run::<()>(&["FLUSHALL"]).await?;
    }
    Ok(format!(
        "Round trips are what one client sends through a proxy. Bytes are the growth of `used_memory` by {records} \
         records with a body of about 250 bytes. Hashes are compact with `{LONGEST} 1024`; the default is 64.\n\n{table}"
    ))
}

async fn round_trips(ground: &Ground, contestant: Contestant) -> Result<(f64, f64)> {
    let address = ground.server.url().trim_start_matches("redis://");
    let address: SocketAddr = address.trim_end_matches('/').parse()?;
    let proxy = Delay::start(address)?;
    let url = format!("redis://{}/", proxy.address());
    let service = ground.service(contestant, &url).await?;
    let mut clients = service.clients(1).await?;
    race::warm_up(&mut clients, Keys::Fresh).await?;
    let before = proxy.messages();
    let asks = load::record(&mut clients, COUNTED).await?;
    let fresh = proxy.messages() - before;
    for ask in asks.iter() {
        clients[0].call(ask).await?;
    }
    let replays = proxy.messages() - before - fresh;
    let each = |messages: u64| -> Result<f64> {
        Ok(f64::from(u32::try_from(messages)?) / f64::from(u32::try_from(COUNTED)?))
    };
    Ok((each(fresh)?, each(replays)?))
}

/// Copies a record under other keys, which look like those of identities.
const COPY: &str = "local dump = redis.call('DUMP', KEYS[1]) \
     for number = tonumber(ARGV[1]), tonumber(ARGV[2]) do \
       local digits = redis.sha1hex(number) \
       redis.call('RESTORE', 'idem:' .. digits .. string.sub(digits, 1, 24), 86400000, dump) \
     end";

/// How many copies are made at a time.
const BATCH: u32 = 5_000;

async fn fill(ground: &Ground, records: u32) -> Result<()> {
    let contestant = Contestant::Claimed;
    let runner = Runner::start(ground, contestant, "", Keys::Fresh, 1).await;
    drop(runner?);
    let keys: Vec<String> = ground.run(&["KEYS", "idem:*"]).await?;
    let key = keys.first().context("a record was written")?;
    let mut connection = ground.connection(ground.server.url()).await?;
    let copy = Script::new(COPY);
    for first in (0..records).step_by(usize::try_from(BATCH)?) {
        let last = records.min(first + BATCH) - 1;
        let mut batch = copy.key(key);
        let copied = batch
            .arg(first)
            .arg(last)
            .invoke_async::<()>(&mut connection);
        copied.await?;
    }
    Ok(())
}

/// What many records change, on two servers in turn.
pub(crate) async fn growth(records: u32, pace: Pace) -> Result<String> {
    let grounds = [Ground::without_file().await?, Ground::without_file().await?];
    let names = ["no records".to_owned(), format!("{records} records")];
    let before = grounds[1].memory().await?;
    fill(&grounds[1], records).await?;
    let memory = (grounds[1].memory().await? - before) / f64::from(records);
    let mut table = Table::new(&[
        "",
        "p50, to none",
        "rounds",
        "per second",
        "p50 ms",
        "p99 ms",
    ]);
    for keys in [Keys::Fresh, Keys::Replay] {
        for clients in [1, 16] {
            let mut runners = Vec::new();
            for (ground, name) in grounds.iter().zip(&names) {
                let runner = Runner::start(ground, Contestant::Claimed, name, keys, clients);
                runners.push(runner.await?);
            }
            let tallies = by_turns(runners, pace).await?;
            let base = &tallies[0];
            for tally in &tallies {
                let (p50, of_base) = (tally.quantile(0.5), base.quantile(0.5));
                let rounds = Ratio::of(&base.rates, &tally.rates);
                let what = title(keys, clients);
                let what = what.trim_start_matches("Redis, HTTP, loopback, ");
                table.row([
                    format!("{what}, {}", tally.name),
                    format!("{:.2}", p50.as_secs_f64() / of_base.as_secs_f64()),
                    format!("{:.2} to {:.2}", rounds.least, rounds.greatest),
                    format!("{:.0}", tally.rate()),
                    milliseconds(p50),
                    milliseconds(tally.quantile(0.99)),
                ]);
            }
        }
    }
    Ok(format!(
        "idem without a step, on two servers, without an append-only file. The records are copies of one record, with a \
         time to live; replays are of records written a moment before. The rounds are those of the throughput, none to \
         many. A record takes {memory:.0} bytes of `used_memory`.\n\n{table}"
    ))
}
