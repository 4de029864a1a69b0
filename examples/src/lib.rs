//! A small ledger service, protected by idem: `cargo run --bin payments`.
//!
//! [`ledger`] is the domain, [`api`] the service on axum, [`serve`] what surrounds it.

pub mod api;
pub mod ledger;
pub mod serve;
