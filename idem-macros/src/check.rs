//! The rules of a handler, one function each.

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{ItemFn, Stmt, Type, parse_quote};

use crate::choice::{Choice, Replay};
use crate::errors::Errors;
use crate::framework::Framework;
use crate::model::{Content, Extractor, Handler, Policy, Record, Source, Store};
use crate::options::Name;
use crate::parse::Given;
use crate::value::Value;
use crate::{pattern, rename};

mod arguments;
mod content;
mod function;
mod key;
mod known;
mod lease;
mod scope;
mod steps;

use arguments::Arguments;
pub(crate) use function::self_types;

/// Checks every rule. The handler can be incomplete after a mistake, and then there is none.
pub(crate) fn check<F: Framework>(
    given: &Given,
    function: &ItemFn,
    errors: &mut Errors,
) -> Option<Handler> {
    let arguments = Arguments::read(function, errors);
    refuse_options::<F>(given, errors);
    let mut policy = policy::<F>(given, errors);
    let scope = scope::check(given, &arguments, errors);
    let key = key::check(given, &arguments, errors);
    F::check(given, errors);
    let asks_for_lease = lease::check(given, &arguments, errors);
    steps::check(given, &arguments, &function.block, errors);
    function::check::<F>(function, key.argument().is_some(), errors);
    let (body, content) = content::check::<F>(given, function, &arguments, errors);
    if let (Content::Nothing, Some(policy)) = (&content, &mut policy) {
        // A failure can be about the body, and another body with this key is to run.
        policy.replay.get_or_insert(Replay::Success);
    }
    let target = content::target(given, &content, errors);
    let read = scope.iter().chain(key.argument());
    Some(Handler {
        function: with_sources_read(function, read, &arguments.extractors),
        roles: arguments.roles,
        transaction: arguments.transaction.map(|argument| argument.ty)?,
        asks_for_lease,
        attempt: arguments.attempt.map(|argument| argument.ty),
        extractors: arguments.extractors,
        body,
        scope,
        key,
        content,
        target,
        headers: content::headers(given),
        policy: policy?,
        store: store(given),
        state: ty(given, Name::State),
        root: root::<F>(given),
    })
}

/// No default is right for `ttl`: a client that retries after it runs the handler again, and until then the record
/// takes space.
fn policy<F: Framework>(given: &Given, errors: &mut Errors) -> Option<Policy> {
    if given.lacks(Name::Ttl) {
        let problem = r#"missing argument `ttl`; say how long a response is remembered, such as `ttl = "24h"`"#;
        errors.at(proc_macro2::Span::call_site(), problem);
    }
    let duration = |name| match given.value(name) {
        Some(Value::Duration(duration)) => Some(duration.clone()),
        _ => None,
    };
    let replay = match given.value(Name::Replay) {
        Some(Value::Choice(Choice::Replay(replay))) => Some(*replay),
        _ => None,
    };
    let isolation = match given.value(Name::Isolation) {
        Some(Value::Choice(Choice::Isolation(isolation))) => Some(*isolation),
        _ => None,
    };
    let operation = match given.value(Name::Operation) {
        Some(Value::Operation(operation)) => Some(operation.clone()),
        _ => None,
    };
    let record = match given.value(Name::Record) {
        Some(Value::Cookies(names)) => Record::WithCookies(names.clone()),
        Some(Value::Choice(Choice::Head)) => Record::Head,
        _ => Record::Default,
    };
    let response_limit = match given.value(Name::ResponseLimit) {
        Some(Value::Size(bytes)) => Some(*bytes),
        _ => None,
    };
    Some(Policy {
        ttl: duration(Name::Ttl)?,
        wait: duration(Name::Wait).or_else(F::wait),
        respond_within: duration(Name::RespondWithin),
        deadline: duration(Name::Deadline),
        lease: duration(Name::Lease),
        replay,
        isolation,
        operation,
        response_limit,
        record,
    })
}

/// The options that the framework has no use for.
fn refuse_options<F: Framework>(given: &Given, errors: &mut Errors) {
    for (name, problem) in F::REFUSED {
        if let Some(entry) = given.entry(*name) {
            errors.at(entry.key.span(), problem);
        }
    }
}

/// The function as it was written. An argument that only `scope` or `key` names is read there as well, so that the
/// compiler doesn't report it as unused.
fn with_sources_read<'a>(
    function: &ItemFn,
    sources: impl Iterator<Item = &'a Source>,
    extractors: &[Extractor],
) -> ItemFn {
    let mut function = function.clone();
    let bindings = sources.filter_map(|source| {
        pattern::binding(&extractors[source.extractor].pattern, &source.path.argument)
    });
    for binding in bindings {
        let is_read = mentions(function.block.to_token_stream(), &binding);
        if !is_read && !binding.to_string().starts_with('_') {
            // A lint wants items to come first.
            let is_item = |statement: &&Stmt| matches!(statement, Stmt::Item(_));
            let items = function.block.stmts.iter().take_while(is_item).count();
            let read = parse_quote!(let _ = &#binding;);
            function.block.stmts.insert(items, read);
        }
    }
    function
}

pub(crate) fn mentions(tokens: TokenStream, name: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(ident) => ident == *name,
        TokenTree::Group(group) => mentions(group.stream(), name),
        _ => false,
    })
}

fn store(given: &Given) -> Option<Store> {
    match given.value(Name::Store) {
        Some(Value::Type(ty)) => Some(Store::State(Type::clone(ty))),
        Some(Value::Extractor(ty)) => Some(Store::Extractor(Type::clone(ty))),
        _ => None,
    }
}

fn ty(given: &Given, name: Name) -> Option<Type> {
    match given.value(name) {
        Some(Value::Type(ty)) => Some(Type::clone(ty)),
        _ => None,
    }
}

/// The path in `crate = …`, or to the renamed adapter. A fallback needs it too.
pub(crate) fn root<F: Framework>(given: &Given) -> Option<syn::Path> {
    if let Some(Value::Path(path)) = given.value(Name::Crate) {
        return Some(path.clone());
    }
    let name = rename::find(&F::ROOT.replace('_', "-"))?.replace('-', "_");
    syn::parse_str(&format!("::{name}")).ok()
}
