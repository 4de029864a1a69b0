//! The same on actix-web.

mod arguments;
mod attributes;
mod bodies;
mod limits;
mod mistakes;
mod multipart;
mod rejections;
mod routes;
pub(crate) mod service;
mod task;
