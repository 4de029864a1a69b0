//! The store on real servers.

mod check;
#[cfg(feature = "cluster")]
mod cluster;
mod contract;
mod cuts;
mod failover;
mod faults;
mod freezes;
mod model;
mod operators;
mod passwords;
mod place;
mod processes;
mod proxy;
mod ride;
mod rows;
mod server;
mod service;
#[cfg(feature = "tls")]
mod tls;
