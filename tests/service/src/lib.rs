//! A small ledger service, protected by idem. Tests start, kill and replace its programs:
//! `service-axum` and `service-actix`.
//!
//! [`ledger`] is the domain, [`rides`] a handler in steps, and [`api`] has the answers of the service. [`axum`] and [`actix`]
//! serve them, on a [`database`]. [`serve`] has the flags, logs and signals.

pub mod actix;
pub mod api;
pub mod axum;
pub mod database;
pub mod ledger;
pub mod rides;
pub mod serve;
