//! No tokens make the macro panic, whatever is written between the parentheses or below them.

use proc_macro2::TokenStream;
use proptest::prelude::*;

use super::split;
use crate::framework::Axum;

/// What attributes are made of, and what they are not.
const ARGUMENTS: &[&str] = &[
    "ttl",
    "scope",
    "unscoped",
    "wait",
    "deadline",
    "replay",
    "key",
    "isolation",
    "fingerprint",
    "body",
    "operation",
    "store",
    "crate",
    "scop",
    "r#ttl",
    "_",
    "self",
    "fn",
    "=",
    "==",
    "=",
    ",",
    ",",
    ",",
    "::",
    "<",
    ">",
    "->",
    "&",
    "+",
    ".",
    "\"24h\"",
    "\"\"",
    "\"tenant\"",
    "\"tenant.id\"",
    "\"none\"",
    "\"raw\"",
    "\"1d 12h\"",
    "b\"x\"",
    "'x'",
    "'a",
    "24",
    "2.5",
    "(a, b)",
    "[a, b]",
    "{ a, b }",
    "(",
    ")",
    "Billing",
    "a::b::<c>",
    "|x| x",
    "impl Sized",
    "#[x]",
    "..",
];

const HANDLERS: &[&str] = &[
    "async fn pay(tx: &mut PgConnection, tenant: Tenant, Json(order): Json<Order>) -> StatusCode { run(tx).await }",
    "async fn pay(tx: &mut C, attempt: &Attempt, (a, [b, ..], S { c, .. }): T, (X(d) | Y(d)): U) {}",
    "fn pay(self, mut a: &mut (dyn A + '_), b: &mut B, c: &C, d: &D, e: m!(), _: _) where Self: Sized {}",
    "#[cfg_attr()] #[cfg_attr(unix)] #[get] #[path = \"x\"] pub(in a::b) async unsafe fn r#fn<'a: 'b, 'b, const N: usize>() {}",
    "async fn pay(#[x] tx: &'static mut T<'static>, f: fn(&str) -> &str, g: &'_ (dyn for<'a> Fn(&'a u8) -> &'a u8)) -> impl Sized + '_ { #![x] }",
    "struct A;",
    "async fn pay();",
    "",
];

/// As many of the words as make tokens.
fn tokens(words: &[&str]) -> TokenStream {
    words
        .iter()
        .filter_map(|word| word.parse::<TokenStream>().ok())
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_arguments(
        words in prop::collection::vec(prop::sample::select(ARGUMENTS), 0..16),
        handler in prop::sample::select(HANDLERS),
    ) {
        let (_, item) = split(&format!("#[idempotent] {handler}"));
        let emitted = crate::idempotent::<Axum>(tokens(&words), &item);
        prop_assert!(handler.is_empty() || !emitted.is_empty());
    }

    #[test]
    fn any_item(
        words in prop::collection::vec(prop::sample::select(ARGUMENTS), 0..16),
        before in prop::sample::select(HANDLERS),
    ) {
        let (_, item) = split(&format!("#[idempotent] {before}"));
        let item: TokenStream = item.into_iter().take(words.len()).chain(tokens(&words)).collect();
        let _ = crate::idempotent::<Axum>("ttl = \"24h\", unscoped".parse().unwrap(), &item);
    }

    #[test]
    fn any_values(text in ".{0,20}", option in prop::sample::select(&["ttl", "scope", "wait", "replay", "fingerprint", "body", "operation"][..])) {
        let (arguments, item) = split(&format!("#[idempotent({option} = {text:?})] {}", HANDLERS[0]));
        let _ = crate::idempotent::<Axum>(arguments, &item);
    }
}
