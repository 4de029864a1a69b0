//! Where the compiler's own messages point: generated tokens stand at the tokens of the handler they are about.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// The first and the last token of something in the source: what begins at one and ends at the other is underlined
/// from end to end.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) first: Span,
    pub(crate) last: Span,
}

impl Place {
    /// A place for generated tokens, which lints don't take for the user's.
    pub(crate) fn of(tokens: &impl ToTokens) -> Self {
        let Self { first, last } = Self::within(tokens);
        let generated = |span| Span::call_site().located_at(span);
        Self {
            first: generated(first),
            last: generated(last),
        }
    }

    /// A place for tokens that are to be one with the user's: of two messages that are alike, the compiler shows one.
    /// A variable among them is found by those at the same token only, as the user's tokens can come out of a macro.
    pub(crate) fn within(tokens: &impl ToTokens) -> Self {
        let mut spans = tokens
            .to_token_stream()
            .into_iter()
            .map(|token| token.span());
        let first = spans.next().unwrap_or_else(Span::call_site);
        let last = spans.last().unwrap_or(first);
        Self { first, last }
    }
}

/// The path of the adapter's hidden module.
pub(crate) struct Private {
    path: TokenStream,
}

impl Private {
    pub(crate) fn new(path: TokenStream) -> Self {
        Self { path }
    }

    /// The path, standing at `place` and resolving as before.
    pub(crate) fn at(&self, place: Span) -> TokenStream {
        move_to(place, self.path.clone())
    }
}

/// Tokens without groups, standing at `place` and resolving as before.
pub(crate) fn move_to(place: Span, tokens: TokenStream) -> TokenStream {
    let moved = tokens.into_iter().map(|mut token| {
        token.set_span(token.span().located_at(place));
        token
    });
    moved.collect()
}

impl ToTokens for Private {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.path.to_tokens(tokens);
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    #[test]
    fn a_place_has_two_ends_and_generated_paths_move_there() {
        let source: TokenStream = "\n    Result<A, B>".parse().unwrap();
        let place = Place::of(&source);
        assert_eq!(
            (place.first.start().column, place.last.start().column),
            (4, 15)
        );
        let moved = Private::new(quote!(::idem_axum::__private)).at(place.first);
        assert!(
            moved
                .into_iter()
                .all(|token| token.span().start().column == 4)
        );
    }
}
