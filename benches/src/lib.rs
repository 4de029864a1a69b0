//! The cost of a protected handler, as ratios to an unprotected one.
//!
//! Everything is compared within one run, in short slices in turn, so that other load on the machine
//! affects all contestants. [`run`] measures and returns the report as Markdown.

mod business;
mod compile;
mod contestant;
mod database;
mod delay;
mod fingerprint;
mod goals;
mod growth;
mod hot;
mod instructions;
mod load;
mod machine;
mod memory;
mod outbox;
mod plan;
mod purge;
mod race;
mod redis;
mod report;
mod stages;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result};
use sqlx::{MySqlConnection, PgConnection, SqliteConnection};

use crate::database::{Bank, Cluster, File, Hosted};
use crate::delay::Delay;
use crate::goals::{Goals, Source};
use crate::plan::{Keys, Network, Pace, Scenario};
use crate::race::{Ground, Tally};
use crate::report::milliseconds;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// A few minutes in place of a quarter of an hour.
    pub quick: bool,
    /// How often everything is measured.
    pub runs: usize,
    /// Only the parts whose titles contain this; upper and lower case count as the same.
    pub only: Option<String>,
    /// A folder for the crates that are compiled.
    pub target: PathBuf,
}

impl Options {
    fn wants(&self, title: &str) -> bool {
        let only = self.only.as_deref().unwrap_or_default().to_lowercase();
        title.to_lowercase().contains(&only)
    }

    fn pace(&self) -> Pace {
        if self.quick { Pace::QUICK } else { Pace::FULL }
    }
}

/// Measures, and returns the report.
///
/// It makes databases of its own on the servers that `IDEM_TEST_POSTGRES_URL` and
/// `IDEM_TEST_MYSQL_URL` name, and drops them, also if it fails or is interrupted.
///
/// # Errors
///
/// If a server can't be reached, or a contestant gives a wrong answer.
pub async fn run(options: Options) -> Result<String> {
    let postgres = Arc::new(Cluster::from_environment()?);
    let mysql = Arc::new(Cluster::from_environment()?);
    let measuring = {
        let (postgres, mysql) = (Arc::clone(&postgres), Arc::clone(&mysql));
        // A task of its own, so that the databases are dropped after a panic, too.
        tokio::spawn(async move { Run::new(options).all(&postgres, &mysql).await })
    };
    let abort = measuring.abort_handle();
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let report = tokio::select! {
        done = measuring => done.context("the measurement broke off").flatten(),
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("interrupted")),
    };
    abort.abort();
    let removed = (postgres.remove().await, mysql.remove().await);
    removed.0.and(removed.1)?;
    report
}

/// The report as it grows.
struct Run {
    options: Options,
    start: Instant,
    goals: Goals,
    facts: Vec<machine::Fact>,
    sections: Vec<(String, Section)>,
}

/// A part of the report.
enum Section {
    Race(Vec<Tally>),
    /// Of the last run.
    Text(String),
}

impl Run {
    fn new(options: Options) -> Self {
        Self {
            options,
            start: Instant::now(),
            goals: Goals::new(),
            facts: machine::facts(),
            sections: Vec::new(),
        }
    }

    async fn all(
        mut self,
        postgres: &Cluster<PgConnection>,
        mysql: &Cluster<MySqlConnection>,
    ) -> Result<String> {
        let (quick, before) = (self.options.quick, self.facts.len());
        for _ in 0..self.options.runs {
            // The facts of the servers are those of the last run.
            self.facts.truncate(before);
            self.hosted(postgres, plan::postgres(quick), plan::purge(quick))
                .await?;
            self.hosted(mysql, plan::mysql(quick), plan::small_purge(quick))
                .await?;
            self.sqlite().await?;
            self.redis().await?;
            self.growth(postgres).await?;
            self.instructions().await?;
            self.waiters().await?;
            self.fingerprint()?;
            self.compile().await?;
            postgres.remove().await?;
            mysql.remove().await?;
        }
        Ok(self.report())
    }

    async fn hosted<C: Hosted>(
        &mut self,
        cluster: &Cluster<C>,
        scenarios: impl Iterator<Item = Scenario>,
        purge: (i64, usize),
    ) -> Result<()> {
        let database = cluster.create().await?;
        let delay = Delay::start(cluster.address().await?)?;
        let direct = database.pool(None).await?;
        let delayed = database.pool(Some(delay.address())).await?;
        let facts = direct.acquire().await?.facts().await?;
        self.facts.extend(facts);
        let added = delay.calibrate::<C>(&direct, &delayed).await?;
        self.facts.push((
            "its network",
            format!("{} ms more for `SELECT 1`, median", milliseconds(added)),
        ));
        for scenario in scenarios {
            let pool = match scenario.network {
                Network::Loopback => direct.clone(),
                Network::Delayed => delayed.clone(),
            };
            let ground = Ground::<C> {
                pool,
                direct: direct.clone(),
            };
            self.race(&ground, &scenario, self.options.pace()).await?;
        }
        let pool = direct.clone();
        let ground = Ground::<C> { pool, direct };
        self.stages(&ground).await?;
        self.hot(&ground).await?;
        self.outbox(&ground).await?;
        self.purge(&ground, purge).await
    }

    async fn sqlite(&mut self) -> Result<()> {
        let file = File::create().await?;
        let pool = file.pool().await?;
        let facts = machine::sqlite(&mut *pool.acquire().await?).await?;
        self.facts.extend(facts);
        let direct = pool.clone();
        let ground = Ground::<SqliteConnection> { pool, direct };
        for scenario in plan::sqlite(self.options.quick) {
            self.race(&ground, &scenario, self.options.pace().of_sqlite())
                .await?;
        }
        self.stages(&ground).await?;
        self.outbox(&ground).await?;
        let purge = plan::small_purge(self.options.quick);
        self.purge(&ground, purge).await
    }

    async fn race<C: Bank>(
        &mut self,
        ground: &Ground<C>,
        scenario: &Scenario,
        pace: Pace,
    ) -> Result<()> {
        let title = format!("{}, {scenario}", C::NAME);
        if !self.begins(&title) {
            return Ok(());
        }
        let tallies = race::run(ground, scenario, pace).await;
        let tallies = tallies.with_context(|| title.clone())?;
        self.goals.of_race((C::NAME, scenario), &tallies);
        self.raced(title, tallies);
        Ok(())
    }

    /// Adds the results of a race to those of earlier runs.
    fn raced(&mut self, title: String, tallies: Vec<Tally>) {
        match self.earlier(&title) {
            Some(Section::Race(all)) => {
                for (all, new) in all.iter_mut().zip(&tallies) {
                    all.merge(new);
                }
            }
            _ => self.sections.push((title, Section::Race(tallies))),
        }
    }

    async fn redis(&mut self) -> Result<()> {
        let (records, grown) = plan::redis(self.options.quick);
        let pace = self.options.pace();
        for keys in [Keys::Fresh, Keys::Replay] {
            for clients in plan::REDIS {
                let title = redis::title(keys, clients);
                if self.begins(&title) {
                    let ground = redis::Ground::start().await?;
                    let tallies = redis::race(&ground, keys, clients, pace).await;
                    self.raced(title.clone(), tallies.context(title)?);
                }
            }
        }
        let title = "Redis, round trips and memory";
        if self.begins(title) {
            let ground = redis::Ground::start().await?;
            self.facts.extend(ground.facts().await?);
            let text = redis::cost(&ground, records).await.context(title)?;
            self.section(title, text);
        }
        let title = "Redis, growth";
        if self.begins(title) {
            let text = redis::growth(grown, pace).await.context(title)?;
            self.section(title, text);
        }
        Ok(())
    }

    async fn stages<C: Bank>(&mut self, ground: &Ground<C>) -> Result<()> {
        let title = format!("{}, stages of one client", C::NAME);
        if self.begins(&title) {
            let cost = stages::run(ground, plan::requests(self.options.quick)).await;
            let cost = cost.with_context(|| title.clone())?;
            if C::NAME == PgConnection::NAME {
                self.goals.set(Source::Engine, cost.engine);
            }
            self.section(&title, cost.text);
        }
        Ok(())
    }

    async fn instructions(&mut self) -> Result<()> {
        let title = "PostgreSQL, instructions of the server";
        if self.begins(title) {
            let cost = instructions::run().await.context(title)?;
            if let Some(ratio) = cost.ratio {
                self.goals.set(Source::Instructions, ratio);
            }
            self.section(title, cost.text);
        }
        Ok(())
    }

    async fn waiters(&mut self) -> Result<()> {
        let title = "Memory of waiting duplicates";
        if self.begins(title) {
            let cost = tokio::task::spawn_blocking(memory::run);
            let cost = cost.await?.context(title)?;
            self.goals.set(Source::Waiter, cost.kilobytes);
            self.section(title, cost.text);
        }
        Ok(())
    }

    /// On one database: the others would tell the same.
    async fn hot<C: Bank>(&mut self, ground: &Ground<C>) -> Result<()> {
        let title = format!("{}, hot key", C::NAME);
        if C::NAME == PgConnection::NAME && self.begins(&title) {
            let (slice, rounds) = plan::hot(self.options.quick);
            let text = hot::run(ground, slice, rounds).await;
            self.section(&title, text.with_context(|| title.clone())?);
        }
        Ok(())
    }

    async fn outbox<C: Bank>(&mut self, ground: &Ground<C>) -> Result<()> {
        let title = format!("{}, outbox", C::NAME);
        if self.begins(&title) {
            let pool = ground.direct.clone();
            let text = outbox::run::<C>(pool, plan::outbox(self.options.quick)).await;
            self.section(&title, text.with_context(|| title.clone())?);
        }
        Ok(())
    }

    async fn purge<C: Bank>(&mut self, ground: &Ground<C>, size: (i64, usize)) -> Result<()> {
        let title = format!("{}, purge", C::NAME);
        if self.begins(&title) {
            ground.direct.acquire().await?.run(C::EMPTY).await?;
            let text = purge::run(ground, size).await;
            self.section(&title, text.with_context(|| title.clone())?);
        }
        Ok(())
    }

    async fn growth(&mut self, cluster: &Cluster<PgConnection>) -> Result<()> {
        let title = "PostgreSQL, growth";
        if self.begins(title) {
            let sizes = plan::sizes(self.options.quick);
            let growth = growth::run(cluster, sizes, self.options.pace()).await?;
            if !self.options.quick {
                self.goals.set(Source::Growth, growth.ratio);
            }
            self.section(title, growth.text);
        }
        Ok(())
    }

    fn fingerprint(&mut self) -> Result<()> {
        let title = "Fingerprint";
        if self.begins(title) {
            let cost = fingerprint::run(self.options.pace())?;
            self.goals.set(Source::Fingerprint, cost.ratio);
            self.section(title, cost.text);
        }
        Ok(())
    }

    async fn compile(&mut self) -> Result<()> {
        let title = "Compile time";
        if self.begins(title) {
            let (target, quick) = (self.options.target.clone(), self.options.quick);
            let cost = tokio::task::spawn_blocking(move || compile::run(&target, quick));
            let cost = cost.await??;
            if let Some(seconds) = cost.seconds {
                self.goals.set(Source::Compile, seconds);
            }
            self.section(title, cost.text);
        }
        Ok(())
    }

    /// Whether a part is wanted. If it is, prints its title.
    fn begins(&self, title: &str) -> bool {
        let wanted = self.options.wants(title);
        if wanted {
            eprintln!("{:4} s  {title}", self.start.elapsed().as_secs());
        }
        wanted
    }

    fn section(&mut self, title: &str, text: String) {
        match self.earlier(title) {
            Some(section) => *section = Section::Text(text),
            None => self.sections.push((title.to_owned(), Section::Text(text))),
        }
    }

    /// The section of an earlier run.
    fn earlier(&mut self, title: &str) -> Option<&mut Section> {
        let mut sections = self.sections.iter_mut();
        let found = sections.find(|(name, _)| name == title);
        found.map(|(_, section)| section)
    }

    fn report(self) -> String {
        let mut facts = String::new();
        for (name, value) in self.facts {
            let _ = writeln!(facts, "- {name}: {value}");
        }
        let mut body = String::new();
        for (title, section) in &self.sections {
            let _ = match section {
                Section::Race(tallies) => {
                    let table = report::race(tallies, self.options.runs);
                    write!(body, "\n## {title}\n\n{table}")
                }
                Section::Text(text) => write!(body, "\n## {title}\n\n{text}"),
            };
        }
        let kind = if self.options.quick { "quick" } else { "full" };
        let runs = match self.options.runs {
            1 => format!("A {kind} run"),
            runs => format!("{runs} {kind} runs"),
        };
        let only = self.options.only.map(|only| format!(", only \"{only}\""));
        format!(
            "# Benchmark of idem\n\n{runs}{}, {} s. {LEGEND}\n\n## Goals\n\n{}\n## Machine\n\n{facts}{body}",
            only.unwrap_or_default(),
            self.start.elapsed().as_secs(),
            self.goals.table(),
        )
    }
}

const LEGEND: &str = "Ratios are throughputs, to the first line of a table: the median of \
     the rounds, the median of each run, and the least and the greatest of the rounds. A goal's figure \
     is the median of the runs. Clients, service and database share the machine.";
