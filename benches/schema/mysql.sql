CREATE TABLE accounts (
    id      BIGINT NOT NULL PRIMARY KEY,
    balance BIGINT NOT NULL
) ENGINE = InnoDB;

CREATE TABLE payments (
    id          BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    tenant      VARCHAR(64)  NOT NULL,
    debtor      BIGINT       NOT NULL,
    creditor    BIGINT       NOT NULL,
    amount      BIGINT       NOT NULL,
    currency    VARCHAR(8)   NOT NULL,
    reference   VARCHAR(64)  NOT NULL,
    description VARCHAR(255) NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE outbox (
    id      BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    payment BIGINT      NOT NULL,
    event   VARCHAR(64) NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

INSERT INTO accounts (id, balance)
WITH RECURSIVE digits (digit) AS (SELECT 0 UNION ALL SELECT digit + 1 FROM digits WHERE digit < 127)
SELECT 128 * high.digit + low.digit, 1000000000
FROM digits AS high, digits AS low WHERE high.digit < 64;

CREATE TABLE floor_records (
    tenant     VARCHAR(64) NOT NULL,
    `key`      VARCHAR(64) NOT NULL,
    status     SMALLINT    NOT NULL,
    response   LONGBLOB    NOT NULL,
    settled_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    PRIMARY KEY (tenant, `key`)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE idempotency (
    user_id              VARCHAR(64) NOT NULL,
    idempotency_key      VARCHAR(64) NOT NULL,
    response_status_code SMALLINT,
    response_headers     TEXT,
    response_body        LONGBLOB,
    created_at           DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    PRIMARY KEY (user_id, idempotency_key)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE lease_records (
    tenant       VARCHAR(64)   NOT NULL,
    `key`        VARCHAR(64)   NOT NULL,
    fingerprint  VARBINARY(32) NOT NULL,
    leased_until BIGINT        NOT NULL,
    status       SMALLINT,
    headers      TEXT,
    response     LONGBLOB,
    completed_at BIGINT,
    PRIMARY KEY (tenant, `key`)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
