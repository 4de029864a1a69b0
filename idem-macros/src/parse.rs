//! Reads the attribute's arguments and the function below it. After a mistake the reading continues, so that one
//! compile reports all of them.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Error, Ident, Item, ItemFn, Result, Token, TraitItemFn, parse2};

use crate::errors::Errors;
use crate::options::{Name, OPTIONS, Shape, Spec};
use crate::suggest;
use crate::value::{self, Value};

/// The options that were given.
#[derive(Default)]
pub(crate) struct Given {
    entries: Vec<Entry>,
    /// The options that misspelled words probably stand for. They are not reported as missing.
    meant: Vec<Name>,
}

/// One option that was given.
pub(crate) struct Entry {
    pub(crate) spec: &'static Spec,
    pub(crate) key: Ident,
    /// All tokens after the `=`.
    pub(crate) tokens: TokenStream,
    /// `None` after a mistake, which has been reported.
    pub(crate) value: Option<Value>,
}

impl Given {
    pub(crate) fn entry(&self, name: Name) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.spec.name == name)
    }

    pub(crate) fn value(&self, name: Name) -> Option<&Value> {
        self.entry(name)?.value.as_ref()
    }

    /// Whether the option was not given at all, not even with a mistake.
    pub(crate) fn lacks(&self, name: Name) -> bool {
        self.entry(name).is_none() && !self.meant.contains(&name)
    }
}

/// Reads the arguments of the attribute.
pub(crate) fn arguments(tokens: TokenStream, errors: &mut Errors) -> Given {
    let mut given = Given::default();
    let parser = |input: ParseStream<'_>| -> Result<()> {
        while !input.is_empty() {
            argument(input, &mut given, errors)?;
            if input.peek(Token![,]) {
                input.parse::<Token![,]>()?;
            } else if !input.is_empty() {
                errors.at(input.span(), "missing `,` before this");
                if !input.peek(Ident::peek_any) {
                    up_to_comma(input)?;
                }
            }
        }
        Ok(())
    };
    if let Err(error) = parser.parse2(tokens) {
        errors.push(error);
    }
    given
}

/// Reads one argument.
fn argument(input: ParseStream<'_>, given: &mut Given, errors: &mut Errors) -> Result<()> {
    if input.peek(Token![,]) {
        errors.at(input.span(), "unexpected `,`; remove it");
        return Ok(());
    }
    if !input.peek(Ident::peek_any) {
        errors.spanned(
            up_to_comma(input)?,
            format!("expected an argument, such as `{}`", OPTIONS[0].example),
        );
        return Ok(());
    }
    let key = Ident::parse_any(input)?;
    let word = key.unraw().to_string();
    let words = || OPTIONS.iter().map(|spec| spec.word);
    let Some(spec) = Spec::find(&word) else {
        errors.at(
            key.span(),
            format!(
                "unknown argument `{word}`; {}",
                suggest::remedy(&word, words(), '`')
            ),
        );
        given.meant.extend(
            suggest::nearest(&word, words())
                .and_then(Spec::find)
                .map(|spec| spec.name),
        );
        up_to_comma(input)?;
        return Ok(());
    };
    let equals = input.parse::<Option<Token![=]>>()?;
    let bare = input.is_empty() || input.peek(Token![,]) || input.peek(Ident::peek_any);
    let tokens = match equals {
        Some(_) => value_tokens(input)?,
        None if bare => TokenStream::new(),
        None => up_to_comma(input)?,
    };
    if given.entry(spec.name).is_some() {
        errors.at(
            key.span(),
            format!("duplicate argument `{word}`; remove one of the two"),
        );
        return Ok(());
    }
    let refuse = |problem: String| {
        let at = if tokens.is_empty() {
            key.to_token_stream()
        } else {
            tokens.clone()
        };
        Err(Error::new_spanned(at, problem))
    };
    let value = match (equals, spec.shape) {
        (None, Shape::Flag) if tokens.is_empty() => Ok(Value::Flag),
        (_, Shape::Flag) => refuse(format!("`{word}` takes no value; write `{word}`")),
        _ if tokens.is_empty() => {
            refuse(format!("missing value; write it as in `{}`", spec.example))
        }
        (None, _) => refuse(format!("missing `=`; write it as in `{}`", spec.example)),
        _ => value::read(spec, &tokens),
    };
    let value = value.map_err(|error| errors.push(error)).ok();
    given.entries.push(Entry {
        spec,
        key,
        tokens,
        value,
    });
    Ok(())
}

/// The tokens of a value. A literal is a whole value, so a missing comma after it is reported there. Any other value
/// ends at the comma.
fn value_tokens(input: ParseStream<'_>) -> Result<TokenStream> {
    let first = input.fork().parse::<TokenTree>();
    if matches!(first, Ok(TokenTree::Literal(_))) {
        input.parse::<TokenTree>().map(TokenTree::into_token_stream)
    } else {
        up_to_comma(input)
    }
}

/// All tokens before the next comma. A comma between angle brackets does not count.
fn up_to_comma(input: ParseStream<'_>) -> Result<TokenStream> {
    let mut tokens = TokenStream::new();
    let mut depth = 0_usize;
    while !input.is_empty() && (depth > 0 || !input.peek(Token![,])) {
        if input.peek(Token![->]) || input.peek(Token![=>]) {
            tokens.extend([input.parse::<TokenTree>()?]);
        } else if input.peek(Token![<]) {
            depth += 1;
        } else if input.peek(Token![>]) {
            depth = depth.saturating_sub(1);
        }
        tokens.extend([input.parse::<TokenTree>()?]);
    }
    Ok(tokens)
}

/// Reads the function that the attribute is on.
///
/// # Errors
///
/// The item is something else.
pub(crate) fn function(tokens: &TokenStream) -> Result<ItemFn> {
    parse2::<ItemFn>(tokens.clone()).map_err(|error| {
        let first = without_attributes(tokens);
        if parse2::<TraitItemFn>(tokens.clone()).is_ok() {
            Error::new_spanned(
                first,
                "the function has no body; `#[idempotent]` goes on an `async fn`",
            )
        } else if parse2::<Item>(tokens.clone()).is_ok() {
            Error::new_spanned(
                first,
                "not a function; `#[idempotent]` goes on an `async fn`",
            )
        } else {
            error
        }
    })
}

/// The first token after the attributes.
fn without_attributes(tokens: &TokenStream) -> Option<TokenTree> {
    tokens.clone().into_iter().find(|token| match token {
        TokenTree::Punct(punct) => punct.as_char() != '#',
        TokenTree::Group(group) => group.delimiter() != Delimiter::Bracket,
        _ => true,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The arguments in `text`, and the messages of its mistakes.
    pub(crate) fn read(text: &str) -> (Given, Vec<String>) {
        let mut errors = Errors::new();
        let given = arguments(text.parse().unwrap(), &mut errors);
        let messages = match errors.finish(Some(())) {
            Ok(()) => Vec::new(),
            Err(error) => error.into_iter().map(|error| error.to_string()).collect(),
        };
        (given, messages)
    }

    #[test]
    fn a_comma_between_angle_brackets_belongs_to_the_value() {
        let (given, messages) =
            read(r#"store = Stores<A, fn(B) -> C, D>, fingerprint = f::<A, B>, ttl = "1s""#);
        assert_eq!(messages, [""; 0]);
        assert_eq!(given.entries.len(), 3);
    }

    #[test]
    fn values_can_come_out_of_macros() {
        let literal = proc_macro2::Group::new(Delimiter::None, quote::quote!("24h"));
        let mut errors = Errors::new();
        let given = arguments(quote::quote!(ttl = #literal, unscoped), &mut errors);
        assert!(errors.finish(Some(())).is_ok());
        assert!(given.value(Name::Ttl).is_some());
    }

    #[test]
    fn raw_identifiers_and_a_last_comma_are_fine() {
        let (given, messages) = read(r#"r#ttl = "24h", unscoped,"#);
        assert_eq!(messages, [""; 0]);
        assert!(given.value(Name::Unscoped).is_some() && given.value(Name::Ttl).is_some());
    }
}
