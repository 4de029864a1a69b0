-- To run it twice does no harm, since DDL commits by itself and a migration can be cut short.
CREATE TABLE IF NOT EXISTS idem_runs (
    identity     BINARY(32)     NOT NULL PRIMARY KEY COMMENT 'As in idem_records',
    operation    TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'The endpoint, for operators',
    fingerprint  VARBINARY(255) NOT NULL COMMENT 'What the key is bound to: version, content digest, raw digest',
    epoch        BIGINT         NOT NULL COMMENT 'The number of claims; it fences off late holders',
    holder       BINARY(16)     NOT NULL COMMENT 'A random name of the attempt that claimed last',
    attempts     INT            NOT NULL COMMENT 'Executions since the identity was new or expired',
    claimed_at   BIGINT         NOT NULL COMMENT 'The last claim, in microseconds since 1970',
    leased_until BIGINT         NOT NULL COMMENT 'The end of the holder''s lease, in microseconds since 1970; then another attempt may claim',
    expires_at   BIGINT         NOT NULL COMMENT 'The time to live after the last claim, in microseconds since 1970',
    KEY idem_runs_expires_at (expires_at)
) ENGINE = InnoDB COMMENT = 'One row for each request with steps that has no record yet';

CREATE TABLE IF NOT EXISTS idem_steps (
    identity    BINARY(32) NOT NULL,
    name        VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    kind        SMALLINT   NOT NULL COMMENT '1 commit; 2 call; 3 call_once',
    epoch       BIGINT     NOT NULL COMMENT 'The claim of the run that recorded the step',
    result      LONGBLOB            COMMENT 'JSON; null for a call_once that may have happened',
    recorded_at BIGINT     NOT NULL COMMENT 'Microseconds since 1970',
    PRIMARY KEY (identity, name)
) ENGINE = InnoDB COMMENT = 'What the steps of a run have returned; deleted when the response is recorded';
