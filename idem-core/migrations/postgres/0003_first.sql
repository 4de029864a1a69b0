-- Claims an identity of which no record has been seen, and prepares the caller's transaction for an attempt. The settings
-- are those of the statements before `claim`; one expression for all of them costs less than a statement for each. A limit
-- that is null stays as it is.
CREATE PROCEDURE idem.claim_first(claimed bytea, lock_id bigint, statement_limit text, idle_limit text)
LANGUAGE plpgsql
AS $$
DECLARE
    is_held boolean := idem.try_lock(lock_id)
        AND pg_catalog.set_config('idem.transaction', 'claimed', true) IS NOT NULL
        AND (statement_limit IS NULL
            OR pg_catalog.set_config('statement_timeout', statement_limit, true) IS NOT NULL)
        AND (idle_limit IS NULL
            OR pg_catalog.set_config('idle_in_transaction_session_timeout', idle_limit, true) IS NOT NULL);
BEGIN
    IF NOT is_held THEN
        RAISE EXCEPTION 'idem: in flight' USING ERRCODE = 'ID001';
    ELSIF pg_catalog.current_setting('transaction_isolation') OPERATOR(pg_catalog.=) 'read committed' THEN
        PERFORM FROM idem.records AS record WHERE record.identity OPERATOR(pg_catalog.=) claimed;
        IF FOUND THEN
            RAISE EXCEPTION 'idem: recorded' USING ERRCODE = 'ID002';
        END IF;
    ELSE
        -- It takes the lock once more, which this transaction has.
        CALL idem.claim(claimed, lock_id, NULL, NULL);
    END IF;
END
$$;

-- Writes a first record, as `record` does, or raises
--   ID003  a trigger suppresses the row; the commit is in the same message, so afterwards it would be too late
CREATE PROCEDURE idem.record_first(
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
    IF NOT FOUND THEN
        RAISE EXCEPTION 'idem: suppressed' USING ERRCODE = 'ID003';
    END IF;
END
$$;
