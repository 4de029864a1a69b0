//! The domain: accounts, payments, refunds and charges, without HTTP and without idempotency.
//!
//! Amounts are in minor units. The ledger has no notion of keys or retries: they are the
//! attribute's work.

use std::future::Future;

use serde::{Deserialize, Serialize};
use sqlx::error::DatabaseError;
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};

use self::dialect::Dialect;

mod dialect;

/// The balance of each account of a new tenant.
pub const STARTING_BALANCE: i64 = 100_000;

/// More than all the money there is, and far below any overflow.
const MOST: i64 = 1_000_000_000_000_000;

/// A balance.
#[derive(Debug, Serialize)]
pub struct Account {
    /// The account's name.
    pub name: String,
    /// In minor units.
    pub balance: i64,
}

/// The request for a payment.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewPayment {
    /// The debtor.
    pub from: String,
    /// The creditor.
    pub to: String,
    /// In minor units, at least 1.
    pub amount: i64,
    /// Free text.
    pub note: Option<String>,
}

/// A completed payment.
#[derive(Debug, Serialize)]
pub struct Payment {
    /// Its number.
    pub id: i64,
    /// The debtor.
    pub from: String,
    /// The creditor.
    pub to: String,
    /// In minor units.
    pub amount: i64,
    /// Free text.
    pub note: Option<String>,
    /// RFC 3339, UTC.
    pub created_at: String,
}

/// The request for a refund.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewRefund {
    /// In minor units, at least 1.
    pub amount: i64,
}

/// A completed refund.
#[derive(Debug, Serialize)]
pub struct Refund {
    /// Its number.
    pub id: i64,
    /// The payment that it belongs to.
    pub payment: i64,
    /// In minor units.
    pub amount: i64,
    /// RFC 3339, UTC.
    pub created_at: String,
}

/// The request for a card charge.
#[derive(Debug, Serialize, Deserialize)]
pub struct NewCharge {
    /// In minor units, at least 1.
    pub amount: i64,
    /// ISO 4217, lower case.
    pub currency: String,
    /// A card token.
    pub source: Option<String>,
}

/// A completed card charge.
#[derive(Debug)]
pub struct Charge {
    /// Its number.
    pub id: i64,
    /// In minor units.
    pub amount: i64,
    /// ISO 4217, lower case.
    pub currency: String,
}

/// What one step of a ride writes.
#[derive(Debug, Clone, Copy)]
pub struct Leg<'a> {
    /// The name of the ride.
    pub note: &'a str,
    /// The step.
    pub step: &'static str,
    /// The number of the attempt that writes it.
    pub attempt: u32,
}

/// Reads rows by position. So one impl serves every database, and sqlx is not compiled a second
/// time for its derive macro.
macro_rules! from_row {
    ($($row:ident { $($field:ident: $type:ty),* })*) => {$(
        impl<'r, R: Row> FromRow<'r, R> for $row
        where
            usize: ColumnIndex<R>,
            $($type: Decode<'r, R::Database> + Type<R::Database>),*
        {
            fn from_row(row: &'r R) -> sqlx::Result<Self> {
                let mut column = 0..;
                $(let $field: $type = row.try_get(column.next().unwrap_or_default())?;)*
                Ok(Self { $($field),* })
            }
        }
    )*};
}

from_row! {
    Account { name: String, balance: i64 }
    Payment { id: i64, from: String, to: String, amount: i64, note: Option<String>, created_at: String }
    Refund { id: i64, payment: i64, amount: i64, created_at: String }
    Charge { id: i64, amount: i64, currency: String }
}

/// The ledger's errors.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerError {
    /// An amount below 1, or a text that is too long.
    #[error("{0}")]
    Invalid(&'static str),
    /// No such account or payment.
    #[error("{0} is not known")]
    Unknown(&'static str),
    /// The debtor has less than the amount.
    #[error("the account holds less than the amount")]
    InsufficientFunds,
    /// More than the rest of the payment.
    #[error("more than the rest of the payment can't be refunded")]
    RefundTooLarge,
    /// The database failed.
    #[error("the database failed")]
    Database(#[source] sqlx::Error),
}

impl From<sqlx::Error> for LedgerError {
    fn from(error: sqlx::Error) -> Self {
        // SQL's own code for a text that is longer than its column.
        const TOO_LONG: &str = "22001";
        let code = error.as_database_error().and_then(DatabaseError::code);
        if code.as_deref() == Some(TOO_LONG) {
            return Self::Invalid("a text is too long");
        }
        Self::Database(error)
    }
}

/// The ledger's operations on a database connection, inside or outside a transaction.
pub trait Ledger: Send + Sized {
    /// All accounts of a tenant.
    fn accounts(
        &mut self,
        tenant: &str,
    ) -> impl Future<Output = Result<Vec<Account>, LedgerError>> + Send;

    /// Moves money.
    fn pay(
        &mut self,
        tenant: &str,
        payment: &NewPayment,
    ) -> impl Future<Output = Result<Payment, LedgerError>> + Send;

    /// All payments of a tenant.
    fn payments(
        &mut self,
        tenant: &str,
    ) -> impl Future<Output = Result<Vec<Payment>, LedgerError>> + Send;

    /// One payment of a tenant.
    fn payment(
        &mut self,
        tenant: &str,
        id: i64,
    ) -> impl Future<Output = Result<Payment, LedgerError>> + Send;

    /// Returns a part of a payment.
    fn refund(
        &mut self,
        tenant: &str,
        payment: i64,
        refund: &NewRefund,
    ) -> impl Future<Output = Result<Refund, LedgerError>> + Send;

    /// Charges a card.
    fn charge(
        &mut self,
        tenant: &str,
        charge: &NewCharge,
    ) -> impl Future<Output = Result<Charge, LedgerError>> + Send;

    /// All charges of a tenant.
    fn charges(
        &mut self,
        tenant: &str,
    ) -> impl Future<Output = Result<Vec<Charge>, LedgerError>> + Send;

    /// Writes a leg, with the number of this process, and returns its number.
    fn leg(&mut self, leg: Leg<'_>) -> impl Future<Output = Result<i64, LedgerError>> + Send;
}

macro_rules! open_accounts {
    ($connection:expr, $tenant:expr) => {
        sqlx::query(Self::OPEN_ACCOUNTS)
            .bind($tenant)
            .bind(STARTING_BALANCE)
            .bind($tenant)
            .bind(STARTING_BALANCE)
            .execute(&mut *$connection)
            .await?
    };
}

/// Always locks both rows in the order of their names. So two payments in opposite directions can't
/// deadlock.
macro_rules! move_money {
    ($connection:expr, $tenant:expr, $from:expr, $to:expr, $amount:expr) => {{
        let mut moves = [($from, -$amount), ($to, $amount)];
        moves.sort();
        for (name, change) in moves {
            let moved = sqlx::query(Self::MOVE)
                .bind(change)
                .bind($tenant)
                .bind(name)
                .bind(-change)
                .execute(&mut *$connection)
                .await?;
            if moved.rows_affected() == 0 {
                let known = sqlx::query(Self::ACCOUNT)
                    .bind($tenant)
                    .bind(name)
                    .fetch_optional(&mut *$connection)
                    .await?;
                return Err(match known {
                    Some(_) => LedgerError::InsufficientFunds,
                    None => LedgerError::Unknown("the account"),
                });
            }
        }
    }};
}

/// The same code for every database. It is a macro because sqlx has no bound that covers all of
/// them.
macro_rules! ledger {
    ($connection:ty) => {
        impl Ledger for $connection {
            async fn accounts(&mut self, tenant: &str) -> Result<Vec<Account>, LedgerError> {
                let accounts = sqlx::query_as(Self::ACCOUNTS).bind(tenant);
                let accounts: Vec<Account> = accounts.fetch_all(&mut *self).await?;
                if !accounts.is_empty() {
                    return Ok(accounts);
                }
                open_accounts!(self, tenant);
                let accounts = sqlx::query_as(Self::ACCOUNTS).bind(tenant);
                Ok(accounts.fetch_all(self).await?)
            }

            async fn pay(
                &mut self,
                tenant: &str,
                payment: &NewPayment,
            ) -> Result<Payment, LedgerError> {
                check_amount(payment.amount)?;
                open_accounts!(self, tenant);
                move_money!(self, tenant, &payment.from, &payment.to, payment.amount);
                let statement = sqlx::query(Self::PAY)
                    .bind(tenant)
                    .bind(&payment.from)
                    .bind(&payment.to)
                    .bind(payment.amount)
                    .bind(&payment.note);
                let id = self.insert(statement).await?;
                self.payment(tenant, id).await
            }

            async fn payments(&mut self, tenant: &str) -> Result<Vec<Payment>, LedgerError> {
                Ok(sqlx::query_as(Self::PAYMENTS)
                    .bind(tenant)
                    .fetch_all(self)
                    .await?)
            }

            async fn payment(&mut self, tenant: &str, id: i64) -> Result<Payment, LedgerError> {
                sqlx::query_as(Self::PAYMENT)
                    .bind(tenant)
                    .bind(id)
                    .fetch_optional(self)
                    .await?
                    .ok_or(LedgerError::Unknown("the payment"))
            }

            async fn refund(
                &mut self,
                tenant: &str,
                payment: i64,
                refund: &NewRefund,
            ) -> Result<Refund, LedgerError> {
                check_amount(refund.amount)?;
                let original = self.payment(tenant, payment).await?;
                let taken = sqlx::query(Self::TAKE_REFUND)
                    .bind(refund.amount)
                    .bind(tenant)
                    .bind(payment)
                    .bind(refund.amount)
                    .execute(&mut *self)
                    .await?;
                if taken.rows_affected() == 0 {
                    return Err(LedgerError::RefundTooLarge);
                }
                move_money!(self, tenant, &original.to, &original.from, refund.amount);
                let statement = sqlx::query(Self::REFUND).bind(payment).bind(refund.amount);
                let id = self.insert(statement).await?;
                Ok(sqlx::query_as(Self::REFUNDED)
                    .bind(id)
                    .fetch_one(self)
                    .await?)
            }

            async fn charge(
                &mut self,
                tenant: &str,
                charge: &NewCharge,
            ) -> Result<Charge, LedgerError> {
                check_amount(charge.amount)?;
                let statement = sqlx::query(Self::CHARGE)
                    .bind(tenant)
                    .bind(charge.amount)
                    .bind(&charge.currency)
                    .bind(&charge.source);
                let id = self.insert(statement).await?;
                Ok(Charge {
                    id,
                    amount: charge.amount,
                    currency: charge.currency.clone(),
                })
            }

            async fn charges(&mut self, tenant: &str) -> Result<Vec<Charge>, LedgerError> {
                Ok(sqlx::query_as(Self::CHARGES)
                    .bind(tenant)
                    .fetch_all(self)
                    .await?)
            }

            async fn leg(&mut self, leg: Leg<'_>) -> Result<i64, LedgerError> {
                let statement = sqlx::query(Self::LEG)
                    .bind(leg.note)
                    .bind(leg.step)
                    .bind(i64::from(leg.attempt))
                    .bind(i64::from(std::process::id()));
                Ok(self.insert(statement).await?)
            }
        }
    };
}

ledger!(sqlx::PgConnection);
ledger!(sqlx::MySqlConnection);
ledger!(sqlx::SqliteConnection);

fn check_amount(amount: i64) -> Result<(), LedgerError> {
    match amount {
        ..1 => Err(LedgerError::Invalid("the amount must be at least 1")),
        1..=MOST => Ok(()),
        _ => Err(LedgerError::InsufficientFunds),
    }
}
