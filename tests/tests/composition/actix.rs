//! The same on actix-web.

mod arguments;
mod attributes;
mod bodies;
mod limits;
mod mistakes;
mod routes;
mod service;
mod task;
