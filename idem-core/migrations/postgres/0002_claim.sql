-- A function of its own, so that a database without advisory locks can replace it by one that says yes.
CREATE FUNCTION idem.try_lock(lock_id bigint) RETURNS boolean
LANGUAGE sql VOLATILE
AS $$ SELECT pg_catalog.pg_try_advisory_xact_lock(lock_id) $$;

-- Claims an identity within the caller's transaction, or raises
--   ID001  another attempt holds the identity
--   ID002  the record is not the one that was seen
-- The lock is taken first. The read is a later statement with a newer snapshot: a read in the statement that takes
-- the lock would miss a record committed in between.
--
-- A procedure, since CALL is neither planned nor run as a query. Every name is qualified: pinning the search path
-- would cost as much as the read.
CREATE PROCEDURE idem.claim(claimed bytea, lock_id bigint, seen_attempts integer, seen_settled_at bigint)
LANGUAGE plpgsql
AS $$
BEGIN
    IF NOT idem.try_lock(lock_id) THEN
        RAISE EXCEPTION 'idem: in flight' USING ERRCODE = 'ID001';
    END IF;
    IF seen_attempts IS NULL
        AND pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.<>) 'read committed'
    THEN
        -- Here all statements share a snapshot, which may be older than the lock, and under SERIALIZABLE a read of what
        -- is not there would conflict with every other key's record on the same page of the index. So it is tried to
        -- write: a record that the snapshot misses makes that a serialization failure.
        BEGIN
            INSERT INTO idem.records
                (identity, operation, state, attempts, status, fingerprint, settled_at, expires_at)
            VALUES (claimed, '', 3, 0, 0, '', pg_catalog.clock_timestamp(), pg_catalog.clock_timestamp())
            ON CONFLICT DO NOTHING;
            IF FOUND THEN
                RAISE EXCEPTION 'idem: free' USING ERRCODE = 'ID000';
            END IF;
            RAISE EXCEPTION 'idem: recorded' USING ERRCODE = 'ID002';
        EXCEPTION WHEN SQLSTATE 'ID000' THEN
            NULL;
        END;
    ELSIF seen_attempts IS NULL THEN
        PERFORM FROM idem.records AS record WHERE record.identity OPERATOR(pg_catalog.=) claimed;
        IF FOUND THEN
            RAISE EXCEPTION 'idem: recorded' USING ERRCODE = 'ID002';
        END IF;
    ELSE
        -- The row lock keeps a purge away from the record that the attempt is going to replace.
        PERFORM FROM idem.records AS record
          WHERE record.identity OPERATOR(pg_catalog.=) claimed
            AND record.attempts OPERATOR(pg_catalog.=) seen_attempts
            AND (extract(epoch FROM record.settled_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8
                OPERATOR(pg_catalog.=) seen_settled_at
          FOR UPDATE;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'idem: recorded' USING ERRCODE = 'ID002';
        END IF;
    END IF;
END
$$;

-- Writes a first record, for a message that commits it too. Without the claim's transaction the state is null, which
-- the table refuses.
CREATE PROCEDURE idem.record(
    claimed bytea, named bytea, ended smallint, tried integer, answered smallint, asked bytea, replayed bytea,
    ttl bigint, durably boolean, INOUT written bigint, INOUT expiring bigint)
LANGUAGE plpgsql
AS $$
BEGIN
    INSERT INTO idem.records
        (identity, operation, state, attempts, status, fingerprint, response, settled_at, expires_at)
    VALUES (
        claimed,
        pg_catalog.convert_from(named, 'UTF8'),
        CASE WHEN pg_catalog.current_setting('idem.transaction', true) OPERATOR(pg_catalog.=) 'claimed'
            AND (NOT durably
                OR (pg_catalog.current_setting('synchronous_commit')
                        OPERATOR(pg_catalog.=) ANY (ARRAY['on', 'remote_apply'])
                    OR pg_catalog.set_config('synchronous_commit', 'on', true) IS NOT NULL)
                AND pg_catalog.set_config('statement_timeout', '0', true) IS NOT NULL)
            THEN ended END,
        tried, answered, asked, replayed, pg_catalog.clock_timestamp(),
        pg_catalog.clock_timestamp() OPERATOR(pg_catalog.+) pg_catalog.make_interval(
            secs => ttl::pg_catalog.float8 OPERATOR(pg_catalog./) 1000000))
    RETURNING
        (extract(epoch FROM settled_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8,
        (extract(epoch FROM expires_at) OPERATOR(pg_catalog.*) 1000000)::pg_catalog.int8
    INTO written, expiring;
END
$$;
