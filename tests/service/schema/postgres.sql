CREATE TABLE IF NOT EXISTS accounts (
    tenant  text   NOT NULL,
    name    text   NOT NULL,
    balance bigint NOT NULL CHECK (balance >= 0),
    PRIMARY KEY (tenant, name)
);

CREATE TABLE IF NOT EXISTS payments (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant     text   NOT NULL,
    debtor     text   NOT NULL,
    creditor   text   NOT NULL,
    amount     bigint NOT NULL,
    refunded   bigint NOT NULL DEFAULT 0,
    note       text,
    created_at text   NOT NULL DEFAULT to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
);

CREATE TABLE IF NOT EXISTS refunds (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment    bigint NOT NULL REFERENCES payments,
    amount     bigint NOT NULL,
    created_at text   NOT NULL DEFAULT to_char(now() AT TIME ZONE 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
);

CREATE TABLE IF NOT EXISTS charges (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant   text   NOT NULL,
    amount   bigint NOT NULL,
    currency text   NOT NULL,
    source   text
);

CREATE TABLE IF NOT EXISTS legs (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    note     text   NOT NULL,
    step     text   NOT NULL,
    attempt  bigint NOT NULL,
    instance bigint NOT NULL
);
