CREATE TABLE accounts (
    id      INTEGER PRIMARY KEY,
    balance INTEGER NOT NULL
) STRICT;

CREATE TABLE payments (
    id          INTEGER PRIMARY KEY,
    tenant      TEXT    NOT NULL,
    debtor      INTEGER NOT NULL,
    creditor    INTEGER NOT NULL,
    amount      INTEGER NOT NULL,
    currency    TEXT    NOT NULL,
    reference   TEXT    NOT NULL,
    description TEXT    NOT NULL
) STRICT;

CREATE TABLE outbox (
    id      INTEGER PRIMARY KEY,
    payment INTEGER NOT NULL,
    event   TEXT    NOT NULL
) STRICT;

WITH RECURSIVE numbers (id) AS (SELECT 0 UNION ALL SELECT id + 1 FROM numbers WHERE id < 8191)
INSERT INTO accounts (id, balance) SELECT id, 1000000000 FROM numbers;

CREATE TABLE floor_records (
    tenant     TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    status     INTEGER NOT NULL,
    response   BLOB    NOT NULL,
    settled_at INTEGER NOT NULL DEFAULT (unixepoch()),
    PRIMARY KEY (tenant, key)
) STRICT;

CREATE TABLE idempotency (
    user_id              TEXT    NOT NULL,
    idempotency_key      TEXT    NOT NULL,
    response_status_code INTEGER,
    response_headers     TEXT,
    response_body        BLOB,
    created_at           INTEGER NOT NULL DEFAULT (unixepoch()),
    PRIMARY KEY (user_id, idempotency_key)
) STRICT;

CREATE TABLE lease_records (
    tenant       TEXT    NOT NULL,
    key          TEXT    NOT NULL,
    fingerprint  BLOB    NOT NULL,
    leased_until INTEGER NOT NULL,
    status       INTEGER,
    headers      TEXT,
    response     BLOB,
    completed_at INTEGER,
    PRIMARY KEY (tenant, key)
) STRICT;
