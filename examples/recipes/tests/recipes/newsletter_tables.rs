//! The tables of the newsletter.

use sqlx::SqlitePool;

pub(crate) async fn execute(pool: &SqlitePool, statement: &'static str) {
    sqlx::query(statement).execute(pool).await.unwrap();
}

/// The tables, with three subscribers, of whom two are confirmed.
pub(crate) async fn create(pool: &SqlitePool) {
    for statement in [
        "CREATE TABLE subscribers (email TEXT, status TEXT)",
        "CREATE TABLE issues (id INTEGER PRIMARY KEY, author TEXT, title TEXT, content TEXT)",
        "CREATE TABLE deliveries (issue INTEGER, email TEXT, PRIMARY KEY (issue, email))",
        "INSERT INTO subscribers VALUES ('ada@example.com', 'confirmed'), \
         ('bob@example.com', 'pending'), ('eve@example.com', 'confirmed')",
    ] {
        execute(pool, statement).await;
    }
}

/// The number of issues and of deliveries.
pub(crate) async fn counts(pool: &SqlitePool) -> (i64, i64) {
    let counts = "SELECT (SELECT count(*) FROM issues), (SELECT count(*) FROM deliveries)";
    sqlx::query_as(counts).fetch_one(pool).await.unwrap()
}
