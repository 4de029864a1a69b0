//! A small ledger service, protected by idem: `cargo run --bin payments`.
//!
//! [`ledger`] is the domain and [`api`] what the service answers; [`axum`] and [`actix`] serve it, on a [`database`].
//! [`serve`] is what surrounds it.

pub mod actix;
pub mod api;
pub mod axum;
pub mod database;
pub mod ledger;
pub mod serve;
