-- InnoDB whatever the server's default is: another engine has no transactions. To run it twice does no harm, since DDL
-- commits by itself and a migration can be cut short.
CREATE TABLE IF NOT EXISTS idem_records (
    identity    BINARY(32)     NOT NULL PRIMARY KEY COMMENT 'Digest of the scope (16 bytes), then digest of scope, operation and key (16 bytes)',
    operation   TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL COMMENT 'The endpoint, for operators',
    state       SMALLINT       NOT NULL COMMENT '1 succeeded; 2 failed, final; 3 failed, retriable; 4 the handler ended the transaction itself',
    attempts    INT            NOT NULL COMMENT 'Executions since the identity was new or expired',
    status      SMALLINT       NOT NULL COMMENT 'HTTP status of the last attempt',
    fingerprint VARBINARY(255) NOT NULL COMMENT 'What the key is bound to: version, content digest, raw digest',
    response    LONGBLOB                COMMENT 'What is replayed: version, headers, body, checksum',
    settled_at  BIGINT         NOT NULL COMMENT 'Microseconds since 1970',
    expires_at  BIGINT         NOT NULL COMMENT 'Microseconds since 1970',
    KEY idem_records_expires_at (expires_at)
) ENGINE = InnoDB COMMENT = 'One row for each idempotency key that is remembered; written in the transaction of the work itself';
