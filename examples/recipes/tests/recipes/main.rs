//! Each recipe of `docs/recipes.md` does what the page says of it.

mod batch;
mod call;
mod page;
mod payment_return;
mod precondition;
mod upload;
mod webhooks;
