CREATE TABLE idem.outbox (
    id         text    PRIMARY KEY,
    topic      text    NOT NULL,
    payload    bytea   NOT NULL,
    failures   integer NOT NULL,
    pushed_at  bigint  NOT NULL,
    due_at     bigint,
    died_at    bigint,
    last_error text
);

-- `pushed_at` is there for the age of the oldest message, which is then read without the rows.
CREATE INDEX outbox_due_at ON idem.outbox (due_at, pushed_at);

COMMENT ON TABLE  idem.outbox            IS 'One row for each message that is to be published; written in the transaction of the work itself';
COMMENT ON COLUMN idem.outbox.id         IS 'The key of the message for its consumers';
COMMENT ON COLUMN idem.outbox.failures   IS 'How often it could not be published';
COMMENT ON COLUMN idem.outbox.pushed_at  IS 'Microseconds since 1970';
COMMENT ON COLUMN idem.outbox.due_at     IS 'When a relay may publish it, or publish it again, in microseconds since 1970; null for a dead letter';
COMMENT ON COLUMN idem.outbox.died_at    IS 'Since when it is a dead letter, in microseconds since 1970';
COMMENT ON COLUMN idem.outbox.last_error IS 'Why it could not be published';
