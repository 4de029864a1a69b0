CREATE TABLE IF NOT EXISTS accounts (
    tenant  VARCHAR(255) NOT NULL,
    name    VARCHAR(255) NOT NULL,
    balance BIGINT       NOT NULL CHECK (balance >= 0),
    PRIMARY KEY (tenant, name)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS payments (
    id         BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    tenant     VARCHAR(255) NOT NULL,
    debtor     VARCHAR(255) NOT NULL,
    creditor   VARCHAR(255) NOT NULL,
    amount     BIGINT       NOT NULL,
    refunded   BIGINT       NOT NULL DEFAULT 0,
    note       TEXT,
    created_at DATETIME(6)  NOT NULL DEFAULT (UTC_TIMESTAMP(6))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS refunds (
    id         BIGINT      NOT NULL AUTO_INCREMENT PRIMARY KEY,
    payment    BIGINT      NOT NULL,
    amount     BIGINT      NOT NULL,
    created_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
    FOREIGN KEY (payment) REFERENCES payments (id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS charges (
    id       BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    tenant   VARCHAR(255) NOT NULL,
    amount   BIGINT       NOT NULL,
    currency VARCHAR(16)  NOT NULL,
    source   VARCHAR(255)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;

CREATE TABLE IF NOT EXISTS legs (
    id       BIGINT       NOT NULL AUTO_INCREMENT PRIMARY KEY,
    note     VARCHAR(255) NOT NULL,
    step     VARCHAR(16)  NOT NULL,
    attempt  BIGINT       NOT NULL,
    instance BIGINT       NOT NULL
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
