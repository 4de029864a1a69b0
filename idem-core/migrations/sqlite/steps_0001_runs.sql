-- One row for each request with steps that has no record yet.
CREATE TABLE idem_runs (
    identity     BLOB    NOT NULL PRIMARY KEY, -- as in idem_records
    operation    TEXT    NOT NULL,             -- the endpoint, for operators
    fingerprint  BLOB    NOT NULL,             -- what the key is bound to: version, content digest, raw digest
    epoch        INTEGER NOT NULL,             -- the number of claims; it fences off late holders
    holder       BLOB    NOT NULL,             -- a random name of the attempt that claimed last
    attempts     INTEGER NOT NULL,             -- executions since the identity was new or expired
    claimed_at   INTEGER NOT NULL,             -- the last claim, in microseconds since 1970
    leased_until INTEGER NOT NULL,             -- the end of the holder's lease; then another attempt may claim
    expires_at   INTEGER NOT NULL              -- the time to live after the last claim
) STRICT;

CREATE INDEX idem_runs_expires_at ON idem_runs (expires_at);

-- What the steps of a run have returned; deleted when the response is recorded.
CREATE TABLE idem_steps (
    identity    BLOB    NOT NULL,
    name        TEXT    NOT NULL,
    kind        INTEGER NOT NULL, -- 1 commit; 2 call; 3 call_once
    epoch       INTEGER NOT NULL, -- the claim of the run that recorded the step
    result      BLOB,             -- JSON; null for a call_once that may have happened
    recorded_at INTEGER NOT NULL, -- microseconds since 1970
    PRIMARY KEY (identity, name)
) STRICT;
