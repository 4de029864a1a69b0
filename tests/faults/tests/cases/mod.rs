//! The number of random sequences.

use proptest::test_runner::Config as Cases;

/// This many, unless `PROPTEST_CASES` sets another number.
pub(crate) fn cases(default: u32) -> Cases {
    let set = std::env::var("PROPTEST_CASES").ok();
    Cases {
        cases: set.map_or(default, |set| set.parse().expect("a number of cases")),
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..Cases::default()
    }
}
