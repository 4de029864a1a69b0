//! Each recipe of `docs/recipes.md` does what the page says of it.

mod page;
