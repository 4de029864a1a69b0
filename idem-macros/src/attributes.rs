//! The handler's other attributes: which of them go to which function. An attribute is recognised by the last segment
//! of its path, since a macro can't resolve paths.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{AttrStyle, Attribute, Meta, parse_quote};

/// The name of the attribute that this crate implements.
pub(crate) const IDEMPOTENT: &str = "idempotent";
/// The attribute whose fields name the handler's arguments.
const INSTRUMENT: &str = "instrument";
/// The attribute that describes a handler for OpenAPI.
const UTOIPA_PATH: &str = "utoipa::path";

/// The attributes of the function that is emitted.
#[derive(Default)]
pub(crate) struct Attributes {
    /// On the function that the framework calls, in their order.
    pub(crate) outer: Vec<TokenStream>,
    /// On the function as it was written: `#[instrument]` and `#![…]`.
    pub(crate) inner: Vec<TokenStream>,
}

impl Attributes {
    /// A second `#[idempotent]` is left out. It has been reported, and would be expanded on a function that is not the
    /// handler any more.
    pub(crate) fn split(attributes: &[Attribute]) -> Self {
        let mut split = Self::default();
        for attribute in attributes {
            if matches!(attribute.style, AttrStyle::Inner(_)) {
                let meta = &attribute.meta;
                split.inner.push(quote!(#[#meta]));
            } else if let Some(condition) = Condition::of(attribute) {
                let metas = condition.metas.iter().filter(|meta| !is(meta, IDEMPOTENT));
                let (inner, outer) = metas.cloned().partition(|meta| is(meta, INSTRUMENT));
                split.inner.extend(condition.on(inner));
                split.outer.extend(condition.on(outer));
            } else {
                match last_segment(&path(&attribute.meta.to_token_stream())).as_str() {
                    IDEMPOTENT => {}
                    INSTRUMENT => split.inner.push(attribute.to_token_stream()),
                    _ => split.outer.push(attribute.to_token_stream()),
                }
            }
        }
        split
    }
}

/// Takes every `#[utoipa::path]` out of `attributes`, changed by `change`. One in a `#[cfg_attr]` keeps the condition.
pub(crate) fn take_utoipa_path(
    attributes: &mut Vec<Attribute>,
    change: impl Fn(TokenStream) -> TokenStream,
) -> Vec<TokenStream> {
    let mut taken = Vec::new();
    let mut kept: Vec<Attribute> = Vec::new();
    for attribute in attributes.drain(..) {
        if let Some(condition) = Condition::of(&attribute) {
            let metas = condition.metas.iter().cloned();
            let (found, rest): (Vec<_>, Vec<_>) = metas.partition(is_utoipa_path);
            taken.extend(condition.on(found.into_iter().map(&change).collect()));
            kept.extend(condition.on(rest).map(|rest| parse_quote!(#rest)));
        } else if is_utoipa_path(&attribute.meta.to_token_stream()) {
            let meta = change(attribute.meta.to_token_stream());
            taken.push(quote!(#[#meta]));
        } else {
            kept.push(attribute);
        }
    }
    *attributes = kept;
    taken
}

fn is_utoipa_path(meta: &TokenStream) -> bool {
    let path = path(meta).to_string().replace(' ', "");
    path.trim_start_matches("::") == UTOIPA_PATH
}

/// The path of every attribute, and the last segment of that path. Attributes in a `#[cfg_attr]` count too.
pub(crate) fn paths(attributes: &[Attribute]) -> Vec<(TokenStream, String)> {
    attributes
        .iter()
        .flat_map(|attribute| match Condition::of(attribute) {
            Some(condition) => condition.metas,
            None => vec![attribute.meta.to_token_stream()],
        })
        .map(|meta| {
            let path = path(&meta);
            let last = last_segment(&path);
            (path, last)
        })
        .collect()
}

/// `#[cfg_attr(predicate, metas…)]`.
struct Condition {
    predicate: TokenStream,
    metas: Vec<TokenStream>,
}

impl Condition {
    fn of(attribute: &Attribute) -> Option<Self> {
        let Meta::List(list) = &attribute.meta else {
            return None;
        };
        if !list.path.is_ident("cfg_attr") {
            return None;
        }
        let tokens: Vec<TokenTree> = list.tokens.clone().into_iter().collect();
        let is_comma =
            |token: &TokenTree| matches!(token, TokenTree::Punct(punct) if punct.as_char() == ',');
        let mut parts = tokens
            .split(is_comma)
            .map(|part| part.iter().cloned().collect::<TokenStream>());
        let predicate = parts.next()?;
        Some(Self {
            predicate,
            metas: parts.filter(|meta| !meta.is_empty()).collect(),
        })
    }

    /// The same condition on some of its attributes, if any.
    fn on(&self, metas: Vec<TokenStream>) -> Option<TokenStream> {
        let predicate = &self.predicate;
        let mut metas = metas.into_iter().peekable();
        metas
            .peek()
            .is_some()
            .then(|| quote!(#[cfg_attr(#predicate, #(#metas),*)]))
    }
}

fn is(meta: &TokenStream, name: &str) -> bool {
    last_segment(&path(meta)) == name
}

fn path(meta: &TokenStream) -> TokenStream {
    let is_path = |token: &TokenTree| match token {
        TokenTree::Ident(_) => true,
        TokenTree::Punct(punct) => punct.as_char() == ':',
        _ => false,
    };
    meta.clone().into_iter().take_while(is_path).collect()
}

fn last_segment(path: &TokenStream) -> String {
    path.clone()
        .into_iter()
        .last()
        .map(|token| token.to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use syn::ItemFn;

    use super::*;

    fn texts(tokens: &[TokenStream]) -> Vec<String> {
        tokens.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn instrument_moves_by_any_path_and_the_others_keep_their_order() {
        let function: ItemFn = parse_quote! {
            /// Pays.
            #[instrument]
            #[axum::debug_handler]
            #[tracing::instrument(skip(tx))]
            #[cfg(unix)]
            #[::tracing::instrument]
            async fn pay() { #![allow(unused)] }
        };
        let split = Attributes::split(&function.attrs);
        assert_eq!(
            texts(&split.outer),
            texts(&[
                quote!(#[doc = r" Pays."]),
                quote!(#[axum::debug_handler]),
                quote!(#[cfg(unix)])
            ])
        );
        assert_eq!(
            texts(&split.inner),
            texts(&[
                quote!(#[instrument]),
                quote!(#[tracing::instrument(skip(tx))]),
                quote!(#[::tracing::instrument]),
                quote!(#[allow(unused)]),
            ])
        );
    }

    #[test]
    fn instrument_moves_out_of_a_condition() {
        let function: ItemFn = parse_quote! {
            #[cfg_attr(all(unix, feature = "trace"), tracing::instrument(skip(tx), err), inline)]
            #[cfg_attr(unix, inline)]
            #[cfg_attr(unix, instrument,)]
            async fn pay() {}
        };
        let split = Attributes::split(&function.attrs);
        assert_eq!(
            texts(&split.outer),
            texts(&[
                quote!(#[cfg_attr(all(unix, feature = "trace"), inline)]),
                quote!(#[cfg_attr(unix, inline)])
            ])
        );
        assert_eq!(
            texts(&split.inner),
            texts(&[
                quote!(#[cfg_attr(all(unix, feature = "trace"), tracing::instrument(skip(tx), err))]),
                quote!(#[cfg_attr(unix, instrument)]),
            ])
        );
    }

    #[test]
    fn a_second_idempotent_is_left_out() {
        let function: ItemFn = parse_quote! {
            #[idem_axum::idempotent(unscoped)]
            #[cfg_attr(unix, idempotent(unscoped))]
            #[cfg_attr(unix, idempotent, inline)]
            #[idempotency]
            async fn pay() {}
        };
        let split = Attributes::split(&function.attrs);
        assert_eq!(
            texts(&split.outer),
            texts(&[quote!(#[cfg_attr(unix, inline)]), quote!(#[idempotency])])
        );
        assert_eq!(texts(&split.inner), texts(&[]));
    }

    #[test]
    fn paths_are_found_in_conditions_too() {
        let function: ItemFn = parse_quote! {
            #[cfg_attr(unix, actix_web::get("/"), inline)]
            #[path = "x"]
            async fn pay() {}
        };
        let names: Vec<_> = paths(&function.attrs)
            .into_iter()
            .map(|(_, last)| last)
            .collect();
        assert_eq!(names, ["get", "inline", "path"]);
    }
}
