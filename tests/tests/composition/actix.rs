//! The same on actix-web.

mod arguments;
mod attributes;
mod bodies;
mod limits;
mod routes;
mod service;
mod task;
