//! The statements. Only hex, integers and the table's name are formatted into them, and only in this file.
#![cfg_attr(
    not(all(feature = "postgres", feature = "mysql", feature = "sqlite")),
    allow(dead_code, reason = "each database uses a part of it")
)]

use std::time::Duration;

use crate::message::{Message, Stored};

/// The most bytes of an error that are kept.
const LONGEST_ERROR: usize = 2000;

/// The words that differ between databases.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dialect {
    /// The clock, in microseconds since 1970: the same in all of a statement, and not a reason to leave the index aside.
    pub(crate) now: &'static str,
    /// Text out of hex digits, so that no character needs an escape.
    pub(crate) text: fn(&str) -> String,
    /// The parameters of an id, a topic and a payload.
    pub(crate) parameters: [&'static str; 3],
    /// Locks the rows of a SELECT, but for those that another relay has locked.
    pub(crate) lock: &'static str,
}

/// The statements for one table.
#[derive(Debug)]
pub struct Sql {
    dialect: Dialect,
    table: String,
    pub(crate) insert: String,
    /// Whether a prepared statement may stay on a connection.
    pub(crate) is_persistent: bool,
}

impl Sql {
    pub(crate) fn new(dialect: Dialect, table: String, is_persistent: bool) -> Self {
        let Dialect {
            now,
            parameters: [id, topic, payload],
            ..
        } = dialect;
        let insert = format!(
            "INSERT INTO {table} (id, topic, payload, failures, pushed_at, due_at) \
             VALUES ({id}, {topic}, {payload}, 0, {now}, {now})"
        );
        Self {
            dialect,
            table,
            insert,
            is_persistent,
        }
    }

    /// Whether a message is due.
    pub(crate) fn is_due(&self) -> String {
        let (table, now) = (&self.table, self.dialect.now);
        format!("SELECT count(*) FROM (SELECT 1 FROM {table} WHERE due_at <= {now} LIMIT 1) AS due")
    }

    /// Messages that are due, and that no other relay leases meanwhile, with the end of a lease.
    pub(crate) fn lock_due(&self, limit: u32, lease: Duration) -> String {
        let (table, now, lock) = (&self.table, self.dialect.now, self.dialect.lock);
        let until = format!("{now} + {}", lease.as_micros());
        let columns = columns(&until);
        format!(
            "SELECT {columns} FROM {table} WHERE due_at <= {now} ORDER BY due_at LIMIT {limit}{lock}"
        )
    }

    /// Leases the messages that [`lock_due`](Self::lock_due) has locked.
    pub(crate) fn hold(&self, messages: &[Stored]) -> Option<String> {
        let until = messages.first()?.due_at?;
        let ids = list(messages.iter().map(|message| &message.id));
        let table = &self.table;
        Some(format!(
            "UPDATE {table} SET due_at = {until} WHERE id IN ({ids})"
        ))
    }

    /// The two in one statement, for a database that has it.
    pub(crate) fn lease(&self, limit: u32, lease: Duration) -> String {
        let (table, now, lock) = (&self.table, self.dialect.now, self.dialect.lock);
        let (lease, columns) = (lease.as_micros(), columns("due_at"));
        // The rows are chosen first, and once: a join may read its other side again.
        format!(
            "WITH due (due_id) AS MATERIALIZED \
             (SELECT id FROM {table} WHERE due_at <= {now} ORDER BY due_at LIMIT {limit}{lock}) \
             UPDATE {table} SET due_at = {now} + {lease} FROM due WHERE id = due_id RETURNING {columns}"
        )
    }

    /// Deletes messages that the broker has confirmed.
    pub(crate) fn delete(&self, messages: &[&Message]) -> String {
        let ids = list(messages.iter().map(|message| &message.id));
        format!("DELETE FROM {} WHERE id IN ({ids})", self.table)
    }

    pub(crate) fn find(&self, id: &str) -> String {
        let (columns, id) = (columns("due_at"), list([id]));
        format!("SELECT {columns} FROM {} WHERE id = {id}", self.table)
    }

    /// What a relay may do to a message, for a check.
    pub(crate) fn update_and_delete(&self, id: &str) -> String {
        let (table, id) = (&self.table, list([id]));
        format!(
            "UPDATE {table} SET failures = 1 WHERE id = {id}; DELETE FROM {table} WHERE id = {id}"
        )
    }

    /// Writes a failure down, unless the lease is over and another relay has the message. Without a delay it is
    /// a dead letter.
    pub(crate) fn fail(&self, message: &Message, error: &str, delay: Option<Duration>) -> String {
        let (table, now) = (&self.table, self.dialect.now);
        let fate = match delay {
            Some(delay) => format!("due_at = {now} + {}", delay.as_micros()),
            None => format!("due_at = NULL, died_at = {now}"),
        };
        let error = (self.dialect.text)(&hex(shortened(error)));
        let id = list([&message.id]);
        let held = message.leased_until;
        format!(
            "UPDATE {table} SET failures = failures + 1, last_error = {error}, {fate} \
             WHERE id = {id} AND due_at = {held}"
        )
    }

    /// The numbers of messages and of dead letters, and the age of the oldest message in microseconds. It reads only
    /// columns of the index: rows have payloads.
    pub(crate) fn stats(&self) -> String {
        let (table, now) = (&self.table, self.dialect.now);
        format!(
            "SELECT count(due_at), count(*) - count(due_at), \
             {now} - min(CASE WHEN due_at IS NOT NULL THEN pushed_at END) FROM {table}"
        )
    }

    pub(crate) fn dead_letters(&self, limit: u32) -> String {
        let columns = columns("due_at");
        format!(
            "SELECT {columns} FROM {} WHERE due_at IS NULL ORDER BY died_at, id LIMIT {limit}",
            self.table
        )
    }

    /// Makes a dead letter, or all of them, a message again.
    pub(crate) fn revive(&self, id: Option<&str>) -> String {
        let (table, now) = (&self.table, self.dialect.now);
        let condition = dead(id);
        format!("UPDATE {table} SET failures = 0, due_at = {now}, died_at = NULL WHERE {condition}")
    }

    pub(crate) fn discard(&self, id: &str) -> String {
        format!("DELETE FROM {} WHERE {}", self.table, dead(Some(id)))
    }
}

fn columns(due_at: &str) -> String {
    format!("id, topic, payload, failures, pushed_at, {due_at}, died_at, last_error")
}

fn dead(id: Option<&str>) -> String {
    match id {
        Some(id) => format!("due_at IS NULL AND id = {}", list([id])),
        None => "due_at IS NULL".to_owned(),
    }
}

/// A list of ids, which are hex digits. There is no message whose id is another text.
fn list(ids: impl IntoIterator<Item = impl AsRef<str>>) -> String {
    let literal = |id: &str| {
        let is_id = id.bytes().all(|byte| byte.is_ascii_hexdigit());
        format!("'{}'", if is_id { id } else { "" })
    };
    let literals: Vec<String> = ids.into_iter().map(|id| literal(id.as_ref())).collect();
    literals.join(", ")
}

fn shortened(error: &str) -> &str {
    let error = error.split('\0').next().unwrap_or_default();
    &error[..error.floor_char_boundary(LONGEST_ERROR)]
}

fn hex(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_id_finds_nothing() {
        assert_eq!(list(["a0", "' OR ''='", "7"]), "'a0', '', '7'");
    }

    #[test]
    fn errors_are_cut_between_characters() {
        assert_eq!(shortened("a\0b"), "a");
        let long = "ü".repeat(LONGEST_ERROR);
        assert_eq!(shortened(&long).len(), LONGEST_ERROR);
        let odd = format!("a{long}");
        assert_eq!(shortened(&odd).len(), LONGEST_ERROR - 1);
    }
}
