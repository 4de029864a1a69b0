//! The domain of the test service: effects, without HTTP and without idempotency.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use idem_core::{
    Attempt, Engine, Open, Provider, SqlStepConnection, StepStore, Steps, Transaction,
};
use sqlx::{AssertSqlSafe, Pool, Row as _};

use crate::control::Control;
use crate::framework;
use crate::scene::{Act, Body, Reply, RideError};

/// A connection that the service can run on.
pub trait Domain:
    Transaction<Connection = Self>
    + for<'c> Open<'c>
    + SqlStepConnection
    + sqlx::Connection
    + std::fmt::Debug
    + 'static
{
    /// Inserts an effect.
    fn insert(
        &mut self,
        tenant: &str,
        label: &str,
    ) -> impl Future<Output = sqlx::Result<()>> + Send;

    /// Runs SQL without parameters. Returns the number of changed rows.
    fn run(&mut self, sql: &str) -> impl Future<Output = sqlx::Result<u64>> + Send;

    /// The only integer in a query's result.
    fn number(&mut self, sql: &str) -> impl Future<Output = sqlx::Result<i64>> + Send;

    /// The only text in a query's result.
    fn text(&mut self, sql: &str) -> impl Future<Output = sqlx::Result<String>> + Send;

    /// The rows of a query for a text and an integer.
    fn numbers(
        &mut self,
        sql: &str,
    ) -> impl Future<Output = sqlx::Result<HashMap<String, i64>>> + Send;
}

macro_rules! domain {
    ($connection:ty, $places:literal) => {
        impl Domain for $connection {
            async fn insert(&mut self, tenant: &str, label: &str) -> sqlx::Result<()> {
                let insert = concat!("INSERT INTO effects (tenant, label) VALUES ", $places);
                let insert = sqlx::query(insert).bind(tenant).bind(label);
                insert.execute(self).await.map(|_| ())
            }

            async fn run(&mut self, sql: &str) -> sqlx::Result<u64> {
                let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(self).await?;
                Ok(done.rows_affected())
            }

            async fn number(&mut self, sql: &str) -> sqlx::Result<i64> {
                let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(self).await?;
                row.try_get(0)
            }

            async fn text(&mut self, sql: &str) -> sqlx::Result<String> {
                let row = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_one(self).await?;
                row.try_get(0)
            }

            async fn numbers(&mut self, sql: &str) -> sqlx::Result<HashMap<String, i64>> {
                let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(self).await?;
                let rows = rows
                    .iter()
                    .map(|row| Ok((row.try_get(0)?, row.try_get(1)?)));
                rows.collect()
            }
        }
    };
}

domain!(sqlx::PgConnection, "($1, $2)");
domain!(sqlx::MySqlConnection, "(?, ?)");
domain!(sqlx::SqliteConnection, "($1, $2)");

/// The engine of handlers with steps. A type of its own, as the store of a generic connection could be this one.
#[derive(Debug)]
pub struct StepEngine<C: Domain>(pub Engine<StepStore<C>>);

impl<C: Domain> Clone for StepEngine<C> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<C: Domain> Provider for StepEngine<C> {
    type Store = StepStore<C>;

    fn engine(&self) -> &Engine<StepStore<C>> {
        &self.0
    }
}

/// The state that all handlers of one instance share.
#[derive(Debug)]
pub struct App<C: Domain> {
    /// Runs the protected handlers.
    pub engine: Engine<C::Store>,
    /// Runs the handlers with steps.
    pub steps: StepEngine<C>,
    /// The engine's connections.
    pub pool: Pool<C::Database>,
    /// The test's control over the handlers.
    pub control: Arc<Control>,
}

impl<C: Domain> Clone for App<C> {
    fn clone(&self) -> Self {
        Self {
            engine: self.engine.clone(),
            steps: self.steps.clone(),
            pool: self.pool.clone(),
            control: Arc::clone(&self.control),
        }
    }
}

impl<C: Domain> App<C> {
    /// The body of every handler: plays the next scene.
    ///
    /// It is boxed, as rustc can't prove that the future is `Send` if the connection's type is
    /// concrete.
    pub fn play<'a>(
        &'a self,
        tx: &'a mut C,
        attempt: &'a Attempt,
        tenant: &'a str,
        label: &'a str,
    ) -> BoxFuture<'a, Reply> {
        self.scene(tx, attempt, tenant, label).boxed()
    }

    /// The steps of a ride: two transactions, and a call between them. Each step that is entered plays the
    /// next scene. The label `booked` ends it after the first step, and `charged` after the second. With the
    /// label `pauses`, the first attempt waits at the gate before its last step. With the label `swallows`, it
    /// swallows the error of a step.
    ///
    /// # Errors
    ///
    /// A scene's reply of 400 or more, or the step's own error.
    pub(crate) async fn ride(
        &self,
        steps: &mut Steps<C>,
        attempt: &Attempt,
        tenant: &str,
        label: &str,
    ) -> Result<Reply, RideError> {
        let ride = steps
            .commit("ride", async |tx| {
                self.leg(tx, attempt, tenant, label).await
            })
            .await?;
        if label == "booked" {
            return Ok(Reply::new(201));
        }
        let charge = steps
            .call("charge", async |key| self.control.call(key, attempt).await)
            .await?;
        if label == "charged" {
            return Ok(Reply::new(201));
        }
        if label == "pauses" && attempt.number() == 1 {
            self.control.wait_at_gate().await;
        }
        let paid = steps
            .commit("paid", async |tx| {
                self.leg(tx, attempt, tenant, label).await
            })
            .await?;
        if label == "swallows" {
            let twice = steps.call("charge", async |key| self.control.call(key, attempt).await);
            assert!(twice.await.is_err(), "the name is used twice");
        }
        let number = attempt.number();
        let json =
            format!(r#"{{"ride":{ride},"charge":{charge},"paid":{paid},"attempt":{number}}}"#);
        Ok(Reply {
            body: Body::Bytes(json.into()),
            ..Reply::new(201)
        })
    }

    /// See [`Control::sms`].
    ///
    /// # Errors
    ///
    /// Those of [`Control::sms`].
    pub(crate) async fn sms(
        &self,
        steps: &mut Steps<C>,
        attempt: &Attempt,
        _tenant: &str,
        _label: &str,
    ) -> Result<Reply, RideError> {
        self.control.sms(steps, attempt).await
    }

    /// A transaction of a ride.
    async fn leg(
        &self,
        tx: &mut C,
        attempt: &Attempt,
        tenant: &str,
        label: &str,
    ) -> Result<usize, RideError> {
        let reply = self.play(tx, attempt, tenant, label).await;
        self.control.entry(reply)
    }

    async fn scene(&self, tx: &mut C, attempt: &Attempt, tenant: &str, label: &str) -> Reply {
        let (scene, _running) = self.control.visit(attempt);
        for act in &scene.acts {
            match self.act(act, tx, attempt, tenant, label).await {
                Ok(None) => {}
                Ok(Some(reply)) => return reply,
                Err(error) => return Reply::bytes(500, format!("{act:?}: {error}")),
            }
        }
        self.control.completed(scene.reply, attempt, label)
    }

    async fn act(
        &self,
        act: &Act,
        tx: &mut C,
        attempt: &Attempt,
        tenant: &str,
        label: &str,
    ) -> sqlx::Result<Option<Reply>> {
        match act {
            Act::Insert => tx.insert(tenant, label).await?,
            Act::Run(sql) => drop(tx.run(sql).await?),
            Act::Try(sql, reply) => {
                return Ok(tx.run(sql).await.is_err().then(|| reply.clone()));
            }
            Act::Swallow(sql) => drop(tx.run(sql).await),
            Act::Elsewhere(sql) => drop(self.pool.acquire().await?.run(sql).await?),
            Act::Nested(keep) => {
                let mut nested = tx.begin().await?;
                nested.insert(tenant, label).await?;
                if *keep {
                    nested.commit().await?;
                } else {
                    nested.rollback().await?;
                }
            }
            Act::Begin => drop(tx.begin().await),
            Act::FailedBegin => {
                let begun = tx.begin_with("BEGIN").await;
                assert!(begun.is_err(), "a BEGIN inside a transaction has to fail");
            }
            // A BEGIN that is answered at once was dropped, not cancelled: try again.
            Act::CancelledBegin => while let Some(Ok(_)) = tx.begin().now_or_never() {},
            Act::Wait => self.control.wait_at_gate().await,
            Act::Hang => std::future::pending().await,
            Act::Freeze(time) => std::thread::sleep(*time),
            Act::TaskLocal => {
                let value = framework::local().unwrap_or_default();
                return Ok(Some(Reply::bytes(200, value)));
            }
            Act::AfterCommit => {
                let control = Arc::clone(&self.control);
                attempt.after_commit(async move { control.commit() });
            }
            Act::AfterCommitGated => {
                let control = Arc::clone(&self.control);
                attempt.after_commit(async move {
                    control.wait_at_gate().await;
                    control.commit();
                });
            }
            Act::Panic => panic!("the scene says so"),
        }
        Ok(None)
    }
}
