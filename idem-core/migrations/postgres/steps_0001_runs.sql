CREATE TABLE idem.runs (
    identity     bytea    PRIMARY KEY,
    operation    text     NOT NULL,
    fingerprint  bytea    NOT NULL,
    epoch        bigint   NOT NULL,
    holder       bytea    NOT NULL,
    attempts     integer  NOT NULL,
    claimed_at   bigint   NOT NULL,
    leased_until bigint   NOT NULL,
    expires_at   bigint   NOT NULL
);

CREATE INDEX runs_expires_at ON idem.runs (expires_at);

CREATE TABLE idem.steps (
    identity    bytea    NOT NULL,
    name        text     NOT NULL,
    kind        smallint NOT NULL,
    epoch       bigint   NOT NULL,
    result      bytea,
    recorded_at bigint   NOT NULL,
    PRIMARY KEY (identity, name)
);

COMMENT ON TABLE  idem.runs              IS 'One row for each request with steps that has no record yet';
COMMENT ON COLUMN idem.runs.identity     IS 'As in records: digest of the scope (16 bytes), then digest of scope, operation and key (16 bytes)';
COMMENT ON COLUMN idem.runs.operation    IS 'The endpoint, for operators';
COMMENT ON COLUMN idem.runs.fingerprint  IS 'What the key is bound to: version, content digest, raw digest';
COMMENT ON COLUMN idem.runs.epoch        IS 'The number of claims; it fences off late holders';
COMMENT ON COLUMN idem.runs.holder       IS 'A random name of the attempt that claimed last';
COMMENT ON COLUMN idem.runs.attempts     IS 'Executions since the identity was new or expired';
COMMENT ON COLUMN idem.runs.claimed_at   IS 'The last claim, in microseconds since 1970';
COMMENT ON COLUMN idem.runs.leased_until IS 'The end of the holder''s lease, in microseconds since 1970; then another attempt may claim';
COMMENT ON COLUMN idem.runs.expires_at   IS 'The time to live after the last claim, in microseconds since 1970';
COMMENT ON TABLE  idem.steps             IS 'What the steps of a run have returned; deleted when the response is recorded';
COMMENT ON COLUMN idem.steps.kind        IS '1 commit; 2 call; 3 call_once';
COMMENT ON COLUMN idem.steps.epoch       IS 'The claim of the run that recorded the step';
COMMENT ON COLUMN idem.steps.result      IS 'JSON; null for a call_once that may have happened';
