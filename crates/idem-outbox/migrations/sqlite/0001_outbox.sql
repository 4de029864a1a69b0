-- One row for each message that is to be published; written in the transaction of the work itself.
CREATE TABLE idem_outbox (
    id         TEXT    NOT NULL PRIMARY KEY, -- the key of the message for its consumers
    topic      TEXT    NOT NULL,
    payload    BLOB    NOT NULL,
    failures   INTEGER NOT NULL,             -- how often it could not be published
    pushed_at  INTEGER NOT NULL,             -- microseconds since 1970
    due_at     INTEGER,                      -- when a relay may publish it, or publish it again; null for a dead letter
    died_at    INTEGER,                      -- since when it is a dead letter
    last_error TEXT                          -- why it could not be published
) STRICT;

-- `pushed_at` is there for the age of the oldest message, which is then read without the rows.
CREATE INDEX idem_outbox_due_at ON idem_outbox (due_at, pushed_at);
