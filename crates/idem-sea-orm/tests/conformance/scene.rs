//! A handler's acts, in SeaORM.

use std::time::Duration;

use futures_util::TryStreamExt as _;
use futures_util::future::try_join;
use idem_core::Attempt;
use idem_sea_orm::{Backend, SeaTransaction};
use idem_tests::Domain;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, DbErr, EntityTrait as _,
    IsolationLevel, QueryFilter as _, Set, TransactionSession as _, TransactionTrait as _,
};
use serde::{Deserialize, Serialize};

use crate::entity::{effect, name};

/// The body of a request.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Scene(pub(crate) Vec<Act>);

/// One act of a handler.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) enum Act {
    /// Inserts an effect.
    Insert,
    /// Inserts an effect, then a name that is taken, and answers that with 422.
    Answer,
    /// The same, and swallows the error.
    Swallow,
    /// Inserts a name that is taken in a nested transaction, which is undone by its error.
    Collide,
    /// Inserts an effect in a nested transaction, and commits it.
    Commit,
    /// The same, and rolls it back.
    RollBack,
    /// The same, and drops it.
    Drop,
    /// Inserts an effect in each of two nested transactions, one in the other, and rolls the inner one back.
    Levels,
    /// Tries to commit a nested transaction while another one is open in it, and drops both.
    Entangle,
    /// Asks for a nested transaction with an isolation of its own.
    Isolate,
    /// Inserts two effects at once.
    Join,
    /// Inserts an effect in a task of its own.
    Spawn,
    /// Inserts an effect without SeaORM.
    Raw,
    /// Leaves the connection in a task that outlives the handler.
    Outlive,
    /// Ends the transaction.
    End,
    /// Fails at the first attempt.
    Fail,
    /// Panics at the first attempt.
    Panic,
    /// Waits without end at the first attempt.
    Hang,
    /// Takes its time.
    Pause,
}

pub(crate) const PAUSE: Duration = Duration::from_millis(300);

/// Plays a scene. Answers with the number of the tenant's effects.
pub(crate) async fn play<DB: Backend<Connection: Domain>>(
    tx: &SeaTransaction<DB>,
    attempt: &Attempt,
    tenant: String,
    scene: Scene,
) -> Result<(u16, String), DbErr> {
    for act in scene.0 {
        let is_first = attempt.number() == 1;
        match act {
            Act::Insert => insert(tx, &tenant).await?,
            Act::Answer => {
                insert(tx, &tenant).await?;
                if take(tx).await.is_err() {
                    return Ok((422, "the name is taken".to_owned()));
                }
            }
            Act::Swallow => {
                insert(tx, &tenant).await?;
                take(tx).await.expect_err("the name is taken");
                return Ok((201, "swallowed".to_owned()));
            }
            Act::Collide => {
                let nested = tx.transaction(|nested| Box::pin(take(nested)));
                nested.await.expect_err("the name is taken");
            }
            Act::Commit => {
                let nested = tx.begin().await?;
                insert(&nested, &tenant).await?;
                nested.commit().await?;
            }
            Act::RollBack => {
                let nested = tx.begin().await?;
                insert(&nested, &tenant).await?;
                nested.rollback().await?;
            }
            Act::Drop => insert(&tx.begin().await?, &tenant).await?,
            Act::Levels => {
                let outer = tx.begin().await?;
                let inner = outer.begin().await?;
                insert(&inner, &tenant).await?;
                inner.rollback().await?;
                insert(&outer, &tenant).await?;
                outer.commit().await?;
            }
            Act::Entangle => {
                let outer = tx.begin().await?;
                insert(&outer, &tenant).await?;
                let inner = outer.begin().await?;
                insert(&inner, &tenant).await?;
                outer.commit().await.expect_err("the inner one is open");
                drop(inner);
            }
            Act::Isolate => {
                let serializable = Some(IsolationLevel::Serializable);
                let nested = tx.begin_with_config(serializable, None).await;
                nested.expect_err("it would be ignored");
            }
            Act::Join => {
                try_join(insert(tx, &tenant), insert(tx, &tenant)).await?;
            }
            Act::Spawn => {
                let (tx, tenant) = (tx.clone(), tenant.clone());
                let task = tokio::spawn(async move { insert(&tx, &tenant).await });
                task.await.expect("does not panic")?;
            }
            Act::Raw => {
                let mut locked = tx.shared().lock().await.expect("the handler runs");
                let inserted = locked.as_mut().insert(&tenant, "raw").await;
                inserted.expect("inserts");
            }
            Act::Outlive => {
                let locked = tx.shared().lock().await.expect("the handler runs");
                tokio::spawn(async move {
                    tokio::time::sleep(PAUSE).await;
                    drop(locked);
                });
                return Ok((201, "too early".to_owned()));
            }
            Act::End => {
                tx.execute_unprepared("COMMIT").await?;
            }
            Act::Fail if is_first => return Err(DbErr::Custom("the scene says so".to_owned())),
            Act::Panic if is_first => panic!("the scene says so"),
            Act::Hang if is_first => std::future::pending().await,
            Act::Pause => tokio::time::sleep(PAUSE).await,
            Act::Fail | Act::Panic | Act::Hang => {}
        }
    }
    let effects = effect::Entity::find().filter(effect::Column::Tenant.eq(&tenant));
    let all = effects.clone().all(tx).await?.len();
    let streamed: Vec<_> = effects.stream(tx).await?.try_collect().await?;
    assert_eq!(streamed.len(), all);
    Ok((201, all.to_string()))
}

async fn insert(db: &impl ConnectionTrait, tenant: &str) -> Result<(), DbErr> {
    let effect = effect::ActiveModel {
        tenant: Set(tenant.to_owned()),
        label: Set("a".to_owned()),
    };
    let inserted = effect.insert(db).await?;
    assert_eq!((&*inserted.tenant, &*inserted.label), (tenant, "a"));
    Ok(())
}

async fn take(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    let name = name::ActiveModel {
        name: Set("taken".to_owned()),
    };
    name::Entity::insert(name).exec(db).await.map(drop)
}
