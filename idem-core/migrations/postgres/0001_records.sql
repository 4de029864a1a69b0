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

-- A function of its own, so that a database without advisory locks can replace it by one that says yes.
CREATE FUNCTION idem.try_lock(lock_id bigint) RETURNS boolean
LANGUAGE sql VOLATILE
AS $$ SELECT pg_catalog.pg_try_advisory_xact_lock(lock_id) $$;

-- Claims an identity within the caller's transaction, or raises
--   ID001  another attempt holds the identity
--   ID002  the record is not the one that was seen
-- The lock is taken first. The read is a later statement with a newer snapshot: a read in the statement that takes
-- the lock would miss a record committed in between.
CREATE FUNCTION idem.claim(claimed bytea, lock_id bigint, seen_attempts integer, seen_settled_at bigint) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT idem.try_lock(lock_id) THEN
        RAISE EXCEPTION 'idem: in flight' USING ERRCODE = 'ID001';
    END IF;
    IF seen_attempts IS NULL THEN
        PERFORM FROM idem.records WHERE identity = claimed;
        IF FOUND THEN
            RAISE EXCEPTION 'idem: recorded' USING ERRCODE = 'ID002';
        END IF;
    ELSE
        -- The row lock keeps a purge away from the record that the attempt is going to replace.
        PERFORM FROM idem.records
          WHERE identity = claimed
            AND attempts = seen_attempts
            AND (extract(epoch FROM settled_at) * 1000000)::bigint = seen_settled_at
          FOR UPDATE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'idem: recorded' USING ERRCODE = 'ID002';
        END IF;
    END IF;
    -- Ends with the transaction. Writing the record checks it, so a record can't be written outside of it.
    PERFORM set_config('idem.transaction', 'claimed', true);
END
$$;
