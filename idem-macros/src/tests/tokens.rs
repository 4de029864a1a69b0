//! No tokens in the attribute or below it make the macro panic. It emits Rust, or a message at each mistake.

use proc_macro2::{Group, TokenStream, TokenTree};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use quote::ToTokens;
use syn::{File, Item, ItemFn, parse2};

use super::split;
use crate::framework::{Actix, Axum, Framework};

/// Parts of attributes, and other tokens.
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

/// Arguments without a mistake for the first of the handlers.
const VALID: &[&str] = &[
    "ttl = \"24h\", unscoped",
    "ttl = \"1d 12h\", scope = \"tenant\", wait = \"0s\", deadline = \"10s\", replay = \"success\", key = \"optional\"",
    "ttl = \"24h\", scope = \"tenant.id\", isolation = \"serializable\", fingerprint = Order::intent, body = \"order\"",
    "ttl = \"24h\", unscoped, operation = \"pay\", store = Billing<u8>, crate = ::my::idem, fingerprint = \"raw\"",
];

/// The tokens of those words that are tokens by themselves.
fn tokens(words: &[&str]) -> TokenStream {
    words
        .iter()
        .filter_map(|word| word.parse::<TokenStream>().ok())
        .collect()
}

/// Puts words before a token, and keeps or removes that token.
#[derive(Clone, Debug)]
struct Edit {
    at: Index,
    words: Vec<&'static str>,
    keeps: bool,
}

impl Edit {
    fn any() -> impl Strategy<Value = Self> {
        let words = vec(select(ARGUMENTS), 0..2);
        (any::<Index>(), words, any::<bool>()).prop_map(|(at, words, keeps)| Self {
            at,
            words,
            keeps,
        })
    }

    fn apply(&self, to: TokenStream) -> TokenStream {
        let mut left = self.at.index(count(&to) + 1);
        self.walk(to, &mut left)
    }

    fn walk(&self, stream: TokenStream, left: &mut usize) -> TokenStream {
        let mut edited = TokenStream::new();
        for token in stream {
            let is_here = *left == 0;
            *left = left.wrapping_sub(1);
            if is_here {
                edited.extend(tokens(&self.words));
            }
            match token {
                _ if is_here && !self.keeps => {}
                TokenTree::Group(group) => {
                    let inner = self.walk(group.stream(), left);
                    let mut inside = Group::new(group.delimiter(), inner);
                    inside.set_span(group.span());
                    inside.to_tokens(&mut edited);
                }
                token => token.to_tokens(&mut edited),
            }
        }
        edited
    }
}

fn count(stream: &TokenStream) -> usize {
    let tokens = stream.clone().into_iter();
    let inside = |token| match token {
        TokenTree::Group(group) => 1 + count(&group.stream()),
        _ => 1,
    };
    tokens.map(inside).sum()
}

/// Checks that every mistake is emitted, at its place, and that the rest is Rust.
fn check_sound<F: Framework>(
    arguments: &TokenStream,
    item: &TokenStream,
) -> Result<(), TestCaseError> {
    let (.., handler) = crate::read::<F>(arguments.clone(), item);
    let mistakes = handler
        .err()
        .map_or_else(Vec::new, |error| error.into_iter().collect());
    let emitted = crate::idempotent::<F>(arguments, item);
    let text = emitted.to_string();
    let said = text.matches(":: core :: compile_error !").count();
    prop_assert_eq!(said, mistakes.len(), "{}", text);
    for mistake in &mistakes {
        let message = mistake.to_string();
        prop_assert!(!message.is_empty());
        // A missing argument can't be underlined. An item that isn't one never comes from the compiler.
        let is_nowhere =
            message.starts_with("missing argument") || parse2::<Item>(item.clone()).is_err();
        let is_somewhere = mistake.span().source_text().is_some();
        prop_assert!(is_somewhere || is_nowhere, "{}", message);
    }
    let is_rust = mistakes.is_empty() || parse2::<ItemFn>(item.clone()).is_ok();
    if is_rust && let Err(error) = parse2::<File>(emitted) {
        prop_assert!(false, "{error} in {text}");
    }
    Ok(())
}

fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    // A case takes well under a millisecond.
    ProptestConfig {
        cases: config.cases * 4,
        failure_persistence: None,
        ..config
    }
}

fn handler() -> impl Strategy<Value = TokenStream> {
    select(HANDLERS).prop_map(|handler| split(&format!("#[idempotent] {handler}")).1)
}

#[test]
fn arguments_are_valid_before_an_edit() {
    for valid in VALID {
        let (arguments, item) = split(&format!("#[idempotent({valid})] {}", HANDLERS[0]));
        for read in [crate::read::<Axum>, crate::read::<Actix>] {
            let (.., handler) = read(arguments.clone(), &item);
            assert_eq!(
                handler.err().map(|error| error.to_string()),
                None,
                "{valid}"
            );
        }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn any_arguments(words in vec(select(ARGUMENTS), 0..16), item in handler()) {
        check_sound::<Axum>(&tokens(&words), &item)?;
        check_sound::<Actix>(&tokens(&words), &item)?;
    }

    #[test]
    fn edited_arguments(valid in select(VALID), item in handler(), edits in vec(Edit::any(), 1..4)) {
        let arguments = valid.parse().unwrap();
        let arguments = edits.iter().fold(arguments, |arguments, edit| edit.apply(arguments));
        check_sound::<Axum>(&arguments, &item)?;
        check_sound::<Actix>(&arguments, &item)?;
    }

    #[test]
    fn edited_handlers(valid in select(VALID), item in handler(), edits in vec(Edit::any(), 1..4)) {
        let arguments = valid.parse().unwrap();
        let item = edits.iter().fold(item, |item, edit| edit.apply(item));
        check_sound::<Axum>(&arguments, &item)?;
        check_sound::<Actix>(&arguments, &item)?;
    }

    #[test]
    fn any_values(text in ".{0,20}", option in select(&["ttl", "scope", "wait", "replay", "fingerprint", "body", "operation"][..])) {
        let (arguments, item) = split(&format!("#[idempotent({option} = {text:?})] {}", HANDLERS[0]));
        check_sound::<Axum>(&arguments, &item)?;
    }
}
