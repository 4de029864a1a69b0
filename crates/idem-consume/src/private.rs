//! The names in the attribute's generated code. Exempt from semantic versioning.
#![allow(missing_docs)]

pub use idem_core::adapter::expansion::*;

pub use crate::serve::{
    Extracted, Preflight as CalledByTheFramework, assert_extracted, assert_held, attempting,
    classify, content, into_response, serve,
};
/// What the generated function returns.
pub use crate::verdict::Verdict as Response;
