//! Exactly-once handlers for actix-web.
//!
//! This crate will bring `#[idempotent]` to actix-web, with the same contract as
//! [`idem-axum`](https://docs.rs/idem-axum). It has no items yet.
