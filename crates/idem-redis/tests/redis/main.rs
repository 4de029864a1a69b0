//! The store on real servers.

mod contract;
mod place;
