//! The hooks on a claim's connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::Sqlite;
use sqlx::sqlite::SqliteError;

use super::code;
use crate::store::connection::CheckedConnection;

/// Stops a statement that still runs when its claim is dropped, and finds out what ended the claim's
/// transaction if the store did not.
#[derive(Debug)]
pub(super) struct Watch(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    interrupted: AtomicBool,
    committed: AtomicBool,
    rolled_back: AtomicBool,
}

/// The errors with which SQLite undoes a whole transaction by itself.
const UNDONE: [i32; 4] = [NOMEM, INTERRUPT, IOERR, FULL];

const NOMEM: i32 = 7;
const INTERRUPT: i32 = 9;
pub(super) const IOERR: i32 = 10;
const FULL: i32 = 13;

impl Watch {
    /// The number of SQLite's virtual machine instructions between two checks of the interrupt.
    const EVERY: i32 = 10_000;

    /// Installs the hooks, in place of those that the connection has: SQLite has one of each, and sqlx
    /// can't return the one that is installed.
    pub(super) async fn install(connection: &mut CheckedConnection<Sqlite>) -> sqlx::Result<Self> {
        let flags = Arc::<Flags>::default();
        let [progress, commit, rollback] = [(); 3].map(|()| Arc::clone(&flags));
        let mut handle = connection.lock_handle().await?;
        handle.set_progress_handler(Self::EVERY, move || {
            !progress.interrupted.load(Ordering::Relaxed)
        });
        handle.set_commit_hook(move || {
            commit.committed.store(true, Ordering::Relaxed);
            true
        });
        handle.set_rollback_hook(move || rollback.rolled_back.store(true, Ordering::Relaxed));
        Ok(Self(flags))
    }

    /// Removes the hooks.
    pub(super) async fn remove(
        &self,
        connection: &mut CheckedConnection<Sqlite>,
    ) -> sqlx::Result<()> {
        let mut handle = connection.lock_handle().await?;
        handle.remove_progress_handler();
        handle.remove_commit_hook();
        handle.remove_rollback_hook();
        Ok(())
    }

    /// Stops the statement that runs: it would hold the only write lock until it ends by itself.
    pub(super) fn interrupt(&self) {
        self.0.interrupted.store(true, Ordering::Relaxed);
    }

    /// The error with which SQLite undid the claim's transaction by itself; nothing is kept then.
    ///
    /// The error alone would not prove this: after a handler's own COMMIT, a statement outside of any
    /// transaction can fail with it too. But then the commit hook has run, as it does for each commit
    /// of the connection, also for that of a single statement.
    pub(super) async fn undone_by(
        &self,
        connection: &mut CheckedConnection<Sqlite>,
    ) -> Option<SqliteError> {
        let (committed, rolled_back) = (&self.0.committed, &self.0.rolled_back);
        if committed.load(Ordering::Relaxed) || !rolled_back.load(Ordering::Relaxed) {
            return None;
        }
        let error = connection.lock_handle().await.ok()?.last_error()?;
        code(&error)
            .is_some_and(|code| UNDONE.contains(&code))
            .then_some(error)
    }
}
