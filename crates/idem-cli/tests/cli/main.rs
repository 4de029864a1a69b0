//! The program as operators start it, on each database.

mod program;
mod records;
mod runs;
mod usage;
