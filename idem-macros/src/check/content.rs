//! The content that a key is bound to: it has to be one, and it has to exist.

use quote::ToTokens;
use syn::{ItemFn, LitStr};

use super::arguments::Arguments;
use super::scope::no_argument;
use crate::choice::{Choice, Fingerprint, Query};
use crate::errors::Errors;
use crate::framework::Framework;
use crate::model::{Body, Content, Target};
use crate::options::Name;
use crate::parse::Given;
use crate::value::Value;

/// The extractor that reads the body, and the content that the key is bound to.
pub(crate) fn check<F: Framework>(
    given: &Given,
    function: &ItemFn,
    arguments: &Arguments,
    errors: &mut Errors,
) -> (Body, Content) {
    let named = named(given, arguments, errors);
    let body = F::body(&arguments.extractors, named, errors);
    if let Some(Value::Choice(Choice::NoBody)) = given.value(Name::Body) {
        if let Some(fingerprint) = given.entry(Name::Fingerprint) {
            let problem = r#"`fingerprint` contradicts `body = "none"`; remove one of the two"#;
            errors.spanned(&fingerprint.tokens, problem);
        }
        return (Body::None, Content::None);
    }
    let content = match given.value(Name::Fingerprint) {
        Some(Value::Choice(Choice::Fingerprint(Fingerprint::Raw))) => Content::Raw,
        Some(Value::Choice(Choice::Fingerprint(Fingerprint::None))) => Content::Nothing,
        Some(Value::Function(function)) => {
            if body == Body::None {
                let name = function.to_token_stream().to_string().replace(' ', "");
                errors.spanned(function, format!("`{name}` {}", F::NO_BODY));
            }
            Content::Function(function.clone())
        }
        _ if body == Body::None => Content::Raw,
        _ => Content::Body,
    };
    if body == Body::Probed && !content.binds_no_argument() {
        check_generics(function, errors);
    }
    (body, content)
}

/// What a key is bound to of method, path and query.
pub(crate) fn target(given: &Given, content: &Content, errors: &mut Errors) -> Target {
    if matches!(content, Content::Nothing) {
        if let Some(query) = given.entry(Name::Query) {
            let problem = r#"`query` contradicts `fingerprint = "none"`; remove one of the two"#;
            errors.spanned(&query.tokens, problem);
        }
        return Target::Nothing;
    }
    match given.value(Name::Query) {
        Some(Value::Except(names)) => Target::QueryExcept(names.clone()),
        Some(Value::Choice(Choice::Query(Query::Sorted))) => Target::SortedQuery,
        Some(Value::Choice(Choice::Query(Query::None))) => Target::NoQuery,
        _ => Target::Exact,
    }
}

/// The headers that are bound by name. Their order in the attribute doesn't matter.
pub(crate) fn headers(given: &Given) -> Vec<String> {
    let Some(Value::Headers(names)) = given.value(Name::Bind) else {
        return Vec::new();
    };
    let mut names = names.clone();
    names.sort();
    names
}

/// The body is found by the arguments' types before the type of a generic parameter is known.
fn check_generics(function: &ItemFn, errors: &mut Errors) {
    if let Some(parameter) = function.sig.generics.type_params().next() {
        errors.spanned(
            &parameter.ident,
            r#"a generic handler has to name its body; add `body = "order"` with the argument's name, or `body = "none"`"#,
        );
    }
}

/// The extractor that `body = "…"` names.
fn named<'a>(
    given: &'a Given,
    arguments: &Arguments,
    errors: &mut Errors,
) -> Option<(&'a LitStr, usize)> {
    let Some(Value::Argument(literal)) = given.value(Name::Body) else {
        return None;
    };
    let index = arguments.binding(&literal.value());
    if index.is_none() {
        errors.at(literal.span(), no_argument(&literal.value(), arguments));
    }
    index.map(|index| (literal, index))
}
