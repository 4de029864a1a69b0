CREATE TABLE accounts (
    id      bigint PRIMARY KEY,
    balance bigint NOT NULL
);

CREATE TABLE payments (
    id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant      text   NOT NULL,
    debtor      bigint NOT NULL,
    creditor    bigint NOT NULL,
    amount      bigint NOT NULL,
    currency    text   NOT NULL,
    reference   text   NOT NULL,
    description text   NOT NULL
);

CREATE TABLE outbox (
    id      bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    payment bigint NOT NULL,
    event   text   NOT NULL
);

INSERT INTO accounts (id, balance) SELECT id, 1000000000 FROM generate_series(0, 8191) AS id;

CREATE TABLE floor_records (
    tenant     text        NOT NULL,
    key        text        NOT NULL,
    status     smallint    NOT NULL,
    response   bytea       NOT NULL,
    settled_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, key)
);

CREATE TYPE header_pair AS (name text, value bytea);

CREATE TABLE idempotency (
    user_id              text          NOT NULL,
    idempotency_key      text          NOT NULL,
    response_status_code smallint,
    response_headers     header_pair[],
    response_body        bytea,
    created_at           timestamptz   NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, idempotency_key)
);

CREATE TABLE lease_records (
    tenant       text   NOT NULL,
    key          text   NOT NULL,
    fingerprint  bytea  NOT NULL,
    leased_until bigint NOT NULL,
    status       smallint,
    headers      text,
    response     bytea,
    completed_at bigint,
    PRIMARY KEY (tenant, key)
);
