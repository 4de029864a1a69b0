//! Each recipe of `docs/recipes.md` does what the page says of it.

#![allow(clippy::unwrap_used)] // clippy takes helper functions for code outside tests

mod batch;
mod call;
mod newsletter;
mod newsletter_axum;
mod newsletter_tables;
mod page;
mod payment_return;
mod precondition;
mod upload;
mod webhooks;
