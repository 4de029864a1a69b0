//! Idempotency keys in Redis or Valkey.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod check;
mod hash;
mod link;
mod runs;
mod scan;
mod scripts;
mod send;
mod store;

pub use self::store::{Durability, Redis, RedisStore};
#[doc(no_inline)]
pub use redis;
