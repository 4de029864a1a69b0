//! The handlers of `docs/recipes.md`, one module for each recipe.
//!
//! The page shows regions of these files: a region is between `// recipe: NAME` and `// recipe: end`. A test
//! compares them with the page, and `BLESS=1 cargo test -p recipes page` writes them into it.

pub mod accepted;
pub mod arc_state;
pub mod batch;
pub mod newsletter;
pub mod newsletter_axum;
pub mod page;
pub mod payment_return;
pub mod precondition;
pub mod proof;
pub mod row_level_security;
pub mod sea_orm;
pub mod tenant_database;
pub mod upload;
pub mod webhooks;

mod failed;
mod tenant;
