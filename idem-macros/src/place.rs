//! Where the compiler's own messages point: a generated token stands at the token of the handler that it is about.

use proc_macro2::{Span, TokenStream};
use quote::ToTokens;

/// The first and the last token of something in the source. The compiler underlines an expression from its first token
/// to its last one, so generated code that begins and ends with these is underlined as that source is.
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

    /// A place for tokens that pass for the user's own. The compiler shows only one of two equal messages, so a mistake
    /// in a type is reported once although the type is repeated.
    ///
    /// A variable at such a place is visible only at the same token, because that token can come out of a macro.
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

/// The path of the adapter's hidden module, where everything is that generated code uses.
pub(crate) struct Private {
    path: TokenStream,
}

impl Private {
    pub(crate) fn new(path: TokenStream) -> Self {
        Self { path }
    }

    /// The path at `place`. It resolves as before.
    pub(crate) fn at(&self, place: Span) -> TokenStream {
        move_to(place, self.path.clone())
    }
}

/// The tokens at `place`. They resolve as before. A token inside a group would keep its place.
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
    fn a_place_has_two_ends_and_a_generated_path_moves_there() {
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
