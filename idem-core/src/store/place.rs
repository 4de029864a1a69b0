//! Tables of another crate next to those of a store.
#![allow(missing_docs, reason = "other crates of idem alone see it")]

use std::future::Future;

use sqlx::{Database, Pool};

use super::StoreError;

/// The place of a store's tables: a schema, or the names with a prefix.
pub trait Place {
    type Database: Database;

    fn pool(&self) -> &Pool<Self::Database>;

    /// A table in statements. A handler may have chosen another database.
    fn table(&self, name: &str) -> String;

    /// Whether prepared statements may stay on a connection.
    fn has_names(&self) -> bool {
        true
    }

    /// Runs the scripts that the bookkeeping of `name` does not have. Their names are those of the default
    /// place.
    fn apply(
        &self,
        name: &'static str,
        scripts: &[&'static str],
    ) -> impl Future<Output = Result<(), StoreError>> + Send;

    fn error(error: sqlx::Error) -> StoreError;
}
