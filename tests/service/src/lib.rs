//! A small ledger service, protected by idem, which tests start, kill and replace: `service-axum` and `service-actix`.
//!
//! [`ledger`] is the domain and [`api`] the answers of the service; [`axum`] and [`actix`] serve them, on a [`database`].
//! [`serve`] has the flags, logs and signals.

pub mod actix;
pub mod api;
pub mod axum;
pub mod database;
pub mod ledger;
pub mod serve;
