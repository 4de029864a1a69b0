//! The store on real servers.

mod check;
#[cfg(feature = "cluster")]
mod cluster;
mod contract;
mod failover;
mod faults;
mod operators;
mod passwords;
mod place;
mod proxy;
mod server;
mod service;
#[cfg(feature = "tls")]
mod tls;
