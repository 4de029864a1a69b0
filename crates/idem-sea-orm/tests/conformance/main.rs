//! The rules that depend on the transaction, with handlers that are written in SeaORM.

mod entity;
mod rules;
mod scene;
mod service;
