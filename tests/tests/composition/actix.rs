//! The same on actix-web.

mod arguments;
mod attributes;
mod bodies;
mod limits;
mod mistakes;
mod multipart;
mod rejections;
mod routes;
mod service;
mod task;
