//! The module `throttle` without the feature `rate-limit`: nothing is counted.

use crate::identity::Identity;
use crate::problem::Problem;

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rates {}

#[cfg(feature = "utoipa")]
impl Rates {
    #[expect(clippy::unused_self, reason = "the same signature as with the feature")]
    pub(crate) fn limit(self, _is_scoped: bool) -> bool {
        false
    }
}

#[derive(Debug)]
pub(crate) struct Throttle;

impl Throttle {
    pub(crate) fn new(_: Rates) -> Self {
        Self
    }

    #[expect(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "the same signature as with the feature"
    )]
    pub(crate) fn check(
        &self,
        _namespace: Option<&str>,
        _scope: Option<&str>,
        _identity: Option<&Identity>,
    ) -> Result<(), Problem> {
        Ok(())
    }
}
