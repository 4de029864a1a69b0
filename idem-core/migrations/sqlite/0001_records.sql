-- One row for each idempotency key that is remembered; written in the transaction of the work itself.
CREATE TABLE idem_records (
    identity    BLOB    NOT NULL PRIMARY KEY, -- digest of the scope (16 bytes), then digest of scope, operation and key (16 bytes)
    operation   TEXT    NOT NULL,             -- the endpoint, for operators
    state       INTEGER NOT NULL,             -- 1 succeeded; 2 failed, final; 3 failed, retriable
    attempts    INTEGER NOT NULL,             -- executions since the identity was new or expired
    status      INTEGER NOT NULL,             -- HTTP status of the last attempt
    fingerprint BLOB    NOT NULL,             -- what the key is bound to: version, content digest, raw digest
    response    BLOB,                         -- what is replayed: version, headers, body, checksum
    settled_at  INTEGER NOT NULL,             -- microseconds since 1970
    expires_at  INTEGER NOT NULL              -- microseconds since 1970
) STRICT;

CREATE INDEX idem_records_expires_at ON idem_records (expires_at);
