//! The program as operators start it, on each database.

mod program;
mod records;
#[cfg(feature = "redis")]
mod redis;
mod runs;
mod usage;
