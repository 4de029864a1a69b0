//! `axum-idempotent` in front of the bare handler, with its in-memory store.
//!
//! It keeps responses in the caller's session, so every customer has one.

use std::sync::Arc;

use axum::Router;
use axum_idempotent::{IdempotentLayer, IdempotentOptions};
use ruts::store::moka::MokaStore;
use ruts::{CookieOptions, SessionLayer};
use tower_cookies::CookieManagerLayer;

use super::bare;
use crate::business::Business;
use crate::database::{Bank, PoolOf};

pub(super) fn router<C: Bank>(pool: PoolOf<C>, business: Business) -> Router {
    protect(bare::router::<C>(pool, business))
}

/// Keeps what a router answers.
pub(super) fn protect(router: Router) -> Router {
    let options = IdempotentOptions::default()
        .use_idempotency_key_header(None, true)
        .expire_after(3600);
    let sessions = Arc::new(MokaStore::builder().build());
    let cookies = CookieOptions::build().name(COOKIE).max_age(3600);
    router
        .layer(IdempotentLayer::<MokaStore>::new(options))
        .layer(SessionLayer::new(sessions).with_cookie_options(cookies))
        .layer(CookieManagerLayer::new())
}

const COOKIE: &str = "id";

/// The cookie of a customer's session: any 128 bits as base64url.
pub(crate) fn cookie(customer: i64) -> String {
    format!("{COOKIE}={customer:021}A")
}
