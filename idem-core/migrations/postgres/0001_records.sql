CREATE TABLE idem.records (
    identity    bytea       PRIMARY KEY,
    operation   text        NOT NULL,
    state       smallint    NOT NULL,
    attempts    integer     NOT NULL,
    status      smallint    NOT NULL,
    fingerprint bytea       NOT NULL,
    response    bytea,
    settled_at  timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL
);

CREATE INDEX records_expires_at ON idem.records (expires_at);

COMMENT ON TABLE  idem.records             IS 'One row for each idempotency key that is remembered; written in the transaction of the work itself';
COMMENT ON COLUMN idem.records.identity    IS 'Digest of the scope (16 bytes), then digest of scope, operation and key (16 bytes)';
COMMENT ON COLUMN idem.records.operation   IS 'The endpoint, for operators';
COMMENT ON COLUMN idem.records.state       IS '1 succeeded; 2 failed, final; 3 failed, retriable';
COMMENT ON COLUMN idem.records.attempts    IS 'Executions since the identity was new or expired';
COMMENT ON COLUMN idem.records.status      IS 'HTTP status of the last attempt';
COMMENT ON COLUMN idem.records.fingerprint IS 'What the key is bound to: version, content digest, raw digest';
COMMENT ON COLUMN idem.records.response    IS 'What is replayed: version, headers, body, checksum';
