//! Collects every mistake of one handler, so that one compile reports them all.

use std::fmt::Display;
use std::thread;

use proc_macro2::Span;
use quote::ToTokens;
use syn::Error;

/// The mistakes found so far. [`finish`](Errors::finish) has to be called, since dropping the collector would lose
/// them.
#[derive(Debug)]
pub(crate) struct Errors {
    found: Vec<Error>,
    finished: bool,
}

impl Errors {
    pub(crate) fn new() -> Self {
        Self {
            found: Vec::new(),
            finished: false,
        }
    }

    /// Reports a mistake at one token.
    pub(crate) fn at(&mut self, span: Span, message: impl Display) {
        self.push(Error::new(span, message));
    }

    /// Reports a mistake at all of `tokens`.
    pub(crate) fn spanned(&mut self, tokens: impl ToTokens, message: impl Display) {
        self.push(Error::new_spanned(tokens, message));
    }

    pub(crate) fn push(&mut self, error: Error) {
        self.found.push(error);
    }

    /// Returns `value` if there is no mistake.
    ///
    /// # Errors
    ///
    /// All mistakes as one error, in the order of the source.
    pub(crate) fn finish<T>(mut self, value: Option<T>) -> Result<T, Error> {
        self.finished = true;
        let mut found = std::mem::take(&mut self.found);
        found.sort_by_key(|error| {
            let start = error.span().start();
            (start.line, start.column)
        });
        let combined = found.into_iter().reduce(|mut first, next| {
            first.combine(next);
            first
        });
        match (combined, value) {
            (Some(error), _) => Err(error),
            (None, Some(value)) => Ok(value),
            (None, None) => Err(Error::new(
                Span::call_site(),
                "the handler could not be read",
            )),
        }
    }
}

impl Drop for Errors {
    fn drop(&mut self) {
        assert!(
            self.finished || thread::panicking(),
            "mistakes were collected and then dropped"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_mistake_the_value_is_returned() {
        assert_eq!(Errors::new().finish(Some(1)).unwrap(), 1);
    }

    #[test]
    fn mistakes_come_in_the_order_of_the_source() {
        let tokens: Vec<_> = "a\nb"
            .parse::<proc_macro2::TokenStream>()
            .unwrap()
            .into_iter()
            .collect();
        let mut errors = Errors::new();
        errors.spanned(&tokens[1], "second");
        errors.spanned(&tokens[0], "first");
        let messages: Vec<_> = errors
            .finish(Some(()))
            .unwrap_err()
            .into_iter()
            .map(|e| e.to_string())
            .collect();
        assert_eq!(messages, ["first", "second"]);
    }

    #[test]
    #[should_panic(expected = "collected and then dropped")]
    fn a_collector_must_be_finished() {
        drop(Errors::new());
    }
}
