//! Each recipe of `docs/recipes.md` does what the page says of it.

mod newsletter;
mod newsletter_axum;
mod newsletter_tables;
mod page;
