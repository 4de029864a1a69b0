//! The SQL statements: for PostgreSQL and SQLite, and where MariaDB and MySQL differ, for them.

use sqlx::query::Query;
use sqlx::{Connection, Database, MySqlConnection, PgConnection, Row as _, SqliteConnection};

type QueryOf<'q, C> =
    Query<'q, <C as Connection>::Database, <<C as Connection>::Database as Database>::Arguments>;

/// The SQL of a database. Every placeholder is bound once, in the order of the numbers.
pub(super) trait Dialect: Connection {
    const OPEN_ACCOUNTS: &'static str = "INSERT INTO accounts (tenant, name, balance) \
         VALUES ($1, 'alice', $2), ($3, 'bob', $4) ON CONFLICT DO NOTHING";

    const ACCOUNTS: &'static str =
        "SELECT name, balance FROM accounts WHERE tenant = $1 ORDER BY name";

    const ACCOUNT: &'static str = "SELECT 1 FROM accounts WHERE tenant = $1 AND name = $2";

    const MOVE: &'static str = "UPDATE accounts SET balance = balance + $1 \
         WHERE tenant = $2 AND name = $3 AND balance >= $4";

    const PAY: &'static str = "INSERT INTO payments (tenant, debtor, creditor, amount, note) \
         VALUES ($1, $2, $3, $4, $5) RETURNING id";

    const PAYMENTS: &'static str = "SELECT id, debtor, creditor, amount, note, created_at \
         FROM payments WHERE tenant = $1 ORDER BY id";

    const PAYMENT: &'static str = "SELECT id, debtor, creditor, amount, note, created_at \
         FROM payments WHERE tenant = $1 AND id = $2";

    const TAKE_REFUND: &'static str = "UPDATE payments SET refunded = refunded + $1 \
         WHERE tenant = $2 AND id = $3 AND amount - refunded >= $4";

    const REFUND: &'static str =
        "INSERT INTO refunds (payment, amount) VALUES ($1, $2) RETURNING id";

    const REFUNDED: &'static str =
        "SELECT id, payment, amount, created_at FROM refunds WHERE id = $1";

    const CHARGE: &'static str = "INSERT INTO charges (tenant, amount, currency, source) \
         VALUES ($1, $2, $3, $4) RETURNING id";

    const CHARGES: &'static str =
        "SELECT id, amount, currency FROM charges WHERE tenant = $1 ORDER BY id";

    const LEG: &'static str = "INSERT INTO legs (note, step, attempt, instance) \
         VALUES ($1, $2, $3, $4) RETURNING id";

    /// Inserts a row, and returns its number.
    fn insert(
        &mut self,
        statement: QueryOf<'_, Self>,
    ) -> impl Future<Output = sqlx::Result<i64>> + Send;
}

impl Dialect for PgConnection {
    async fn insert(&mut self, statement: QueryOf<'_, Self>) -> sqlx::Result<i64> {
        statement.fetch_one(self).await?.try_get(0)
    }
}

impl Dialect for SqliteConnection {
    async fn insert(&mut self, statement: QueryOf<'_, Self>) -> sqlx::Result<i64> {
        statement.fetch_one(self).await?.try_get(0)
    }
}

impl Dialect for MySqlConnection {
    /// Not INSERT IGNORE, which takes a shared lock on an existing row: two payments could both
    /// hold it, and each would wait for the other.
    const OPEN_ACCOUNTS: &'static str = "INSERT INTO accounts (tenant, name, balance) \
         VALUES (?, 'alice', ?), (?, 'bob', ?) ON DUPLICATE KEY UPDATE balance = balance";

    const ACCOUNTS: &'static str =
        "SELECT name, balance FROM accounts WHERE tenant = ? ORDER BY name";

    const ACCOUNT: &'static str = "SELECT 1 FROM accounts WHERE tenant = ? AND name = ?";

    const MOVE: &'static str = "UPDATE accounts SET balance = balance + ? \
         WHERE tenant = ? AND name = ? AND balance >= ?";

    const PAY: &'static str = "INSERT INTO payments (tenant, debtor, creditor, amount, note) \
         VALUES (?, ?, ?, ?, ?)";

    const PAYMENTS: &'static str = "SELECT id, debtor, creditor, amount, note, \
         DATE_FORMAT(created_at, '%Y-%m-%dT%H:%i:%s.%fZ') \
         FROM payments WHERE tenant = ? ORDER BY id";

    const PAYMENT: &'static str = "SELECT id, debtor, creditor, amount, note, \
         DATE_FORMAT(created_at, '%Y-%m-%dT%H:%i:%s.%fZ') \
         FROM payments WHERE tenant = ? AND id = ?";

    const TAKE_REFUND: &'static str = "UPDATE payments SET refunded = refunded + ? \
         WHERE tenant = ? AND id = ? AND amount - refunded >= ?";

    const REFUND: &'static str = "INSERT INTO refunds (payment, amount) VALUES (?, ?)";

    const REFUNDED: &'static str = "SELECT id, payment, amount, \
         DATE_FORMAT(created_at, '%Y-%m-%dT%H:%i:%s.%fZ') FROM refunds WHERE id = ?";

    const CHARGE: &'static str = "INSERT INTO charges (tenant, amount, currency, source) \
         VALUES (?, ?, ?, ?)";

    const CHARGES: &'static str =
        "SELECT id, amount, currency FROM charges WHERE tenant = ? ORDER BY id";

    const LEG: &'static str =
        "INSERT INTO legs (note, step, attempt, instance) VALUES (?, ?, ?, ?)";

    /// MariaDB has RETURNING, but MySQL does not.
    async fn insert(&mut self, statement: QueryOf<'_, Self>) -> sqlx::Result<i64> {
        let inserted = statement.execute(self).await?;
        Ok(inserted.last_insert_id().cast_signed())
    }
}
