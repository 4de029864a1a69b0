//! The contract, rule by rule, on every pair of framework and database.

mod c;
mod c_waiting;
mod cache;
mod e;
mod f;
mod f_values;
mod h;
mod k;
mod l;
mod m;
mod o_commit;
mod o_faults;
mod o_misuse;
mod o_outcomes;
mod p;
mod postgres;
mod postgres_wire;
mod r;
mod s;
mod sqlite;
mod transaction;
mod v;
