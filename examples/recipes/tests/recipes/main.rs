//! Each recipe of `docs/recipes.md` does what the page says of it.

#![allow(clippy::unwrap_used)] // clippy takes helper functions for code outside tests

mod accepted;
mod arc_state;
mod batch;
mod call;
mod newsletter;
mod newsletter_axum;
mod newsletter_tables;
mod page;
mod payment_return;
mod precondition;
mod proof;
mod row_level_security;
mod sea_orm;
mod tenant_database;
mod upload;
mod webhooks;
