//! The long documents.
//!
//! They are files of the repository's folder `docs`. There, a link to another file is defined at the end of the file;
//! here the first definition counts, which is that in `links.md`.
#![allow(
    clippy::doc_markdown,
    clippy::test_attr_in_doctest,
    reason = "the documents are written for people who read them as files"
)]

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/contract.md")]
pub mod contract {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/choosing.md")]
pub mod choosing {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/adopting.md")]
pub mod adopting {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/recipes.md")]
pub mod recipes {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/messages.md")]
pub mod messages {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/outbox.md")]
pub mod outbox {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/clients.md")]
pub mod clients {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/compiling.md")]
pub mod compiling {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/actix.md")]
pub mod actix {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/postgresql.md")]
pub mod postgresql {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/operating.md")]
pub mod operating {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/runbook.md")]
pub mod runbook {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/testing.md")]
#[allow(
    rustdoc::invalid_rust_codeblocks,
    reason = "one module of an example is in several blocks"
)]
pub mod testing {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/reliability.md")]
pub mod reliability {}

#[doc = include_str!("_documentation/links.md")]
#[doc = include_str!("../docs/fingerprint.md")]
pub mod fingerprint {}
