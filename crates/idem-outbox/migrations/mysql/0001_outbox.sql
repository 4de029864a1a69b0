-- InnoDB whatever the server's default is: another engine has no transactions. To run it twice does no harm, since DDL
-- commits by itself and a migration can be cut short.
CREATE TABLE IF NOT EXISTS idem_outbox (
    id         CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL PRIMARY KEY COMMENT 'The key of the message for its consumers',
    topic      TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    payload    LONGBLOB NOT NULL,
    failures   INT      NOT NULL COMMENT 'How often it could not be published',
    pushed_at  BIGINT   NOT NULL COMMENT 'Microseconds since 1970',
    due_at     BIGINT            COMMENT 'When a relay may publish it, or publish it again, in microseconds since 1970; null for a dead letter',
    died_at    BIGINT            COMMENT 'Since when it is a dead letter, in microseconds since 1970',
    last_error TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin COMMENT 'Why it could not be published',
    -- `pushed_at` is there for the age of the oldest message, which is then read without the rows.
    KEY idem_outbox_due_at (due_at, pushed_at)
) ENGINE = InnoDB COMMENT = 'One row for each message that is to be published; written in the transaction of the work itself';
