//! The work of the handlers, their requests and their responses: the same for every contestant.

use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::database::{Bank as _, on_all};

/// How many customers there are: each is a tenant with two accounts and a session.
pub(crate) const CUSTOMERS: i64 = 4096;

/// How many statements the business has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Business {
    /// One INSERT.
    One,
    /// A SELECT, two UPDATEs and two INSERTs.
    Five,
}

/// A request: ten fields.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NewPayment {
    debtor: i64,
    creditor: i64,
    amount: i64,
    currency: String,
    reference: String,
    description: String,
    email: String,
    country: String,
    channel: String,
    note: Option<String>,
}

impl NewPayment {
    /// A payment between the two accounts of a customer.
    pub(crate) fn of(customer: i64) -> Self {
        Self {
            debtor: 2 * customer,
            creditor: 2 * customer + 1,
            amount: 100 + customer,
            currency: "EUR".to_owned(),
            reference: format!("INV-2026-{customer:06}"),
            description: "Subscription, twelve months, paid in advance".to_owned(),
            email: format!("customer{customer}@example.com"),
            country: "NL".to_owned(),
            channel: "web".to_owned(),
            note: None,
        }
    }
}

/// A response: about 250 bytes of JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Receipt {
    id: i64,
    object: &'static str,
    status: &'static str,
    tenant: String,
    debtor: i64,
    creditor: i64,
    amount: i64,
    currency: String,
    reference: String,
    description: String,
}

impl Receipt {
    /// The receipt of the payment with this number.
    pub(crate) fn new(id: i64, tenant: &str, payment: NewPayment) -> Self {
        Self {
            id,
            object: "payment",
            status: "succeeded",
            tenant: tenant.to_owned(),
            debtor: payment.debtor,
            creditor: payment.creditor,
            amount: payment.amount,
            currency: payment.currency,
            reference: payment.reference,
            description: payment.description,
        }
    }
}

/// The business on a connection that is inside a transaction.
pub(crate) trait Ledger {
    const BALANCE: &'static str = "SELECT balance FROM accounts WHERE id = $1";

    const MOVE: &'static str = "UPDATE accounts SET balance = balance + $1 WHERE id = $2";

    const PAY: &'static str = "INSERT INTO payments \
         (tenant, debtor, creditor, amount, currency, reference, description) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id";

    const ANNOUNCE: &'static str =
        "INSERT INTO outbox (payment, event) VALUES ($1, 'payment.succeeded')";

    /// Pays, in as many statements as `business` says, and returns the payment's number.
    fn pay(
        &mut self,
        business: Business,
        tenant: &str,
        payment: &NewPayment,
    ) -> impl Future<Output = sqlx::Result<i64>> + Send;
}

on_all! {
    Ledger {
        async fn pay(
            &mut self,
            business: Business,
            tenant: &str,
            payment: &NewPayment,
        ) -> sqlx::Result<i64> {
            if business == Business::Five {
                let balance: i64 = sqlx::query_scalar(Self::BALANCE)
                    .bind(payment.debtor)
                    .fetch_one(&mut *self)
                    .await?;
                if balance < payment.amount {
                    return Err(sqlx::Error::RowNotFound);
                }
                for (account, change) in [
                    (payment.debtor, -payment.amount),
                    (payment.creditor, payment.amount),
                ] {
                    sqlx::query(Self::MOVE)
                        .bind(change)
                        .bind(account)
                        .execute(&mut *self)
                        .await?;
                }
            }
            let pay = sqlx::query(Self::PAY)
                .bind(tenant)
                .bind(payment.debtor)
                .bind(payment.creditor)
                .bind(payment.amount)
                .bind(&payment.currency)
                .bind(&payment.reference)
                .bind(&payment.description);
            let id = self.numbered(pay).await?;
            if business == Business::Five {
                sqlx::query(Self::ANNOUNCE).bind(id).execute(&mut *self).await?;
            }
            Ok(id)
        }
    }

    mysql {
        const BALANCE: &'static str = "SELECT balance FROM accounts WHERE id = ?";

        const MOVE: &'static str = "UPDATE accounts SET balance = balance + ? WHERE id = ?";

        const PAY: &'static str = "INSERT INTO payments \
             (tenant, debtor, creditor, amount, currency, reference, description) \
             VALUES (?, ?, ?, ?, ?, ?, ?)";

        const ANNOUNCE: &'static str =
            "INSERT INTO outbox (payment, event) VALUES (?, 'payment.succeeded')";
    }
}
