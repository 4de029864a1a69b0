//! The rules of a handler, one function each.

use syn::{ItemFn, Type};

use crate::errors::Errors;
use crate::framework::Framework;
use crate::model::{Handler, Policy};
use crate::options::Name;
use crate::parse::Given;
use crate::value::Value;

mod arguments;
mod content;
mod function;
mod scope;

pub(crate) use arguments::Arguments;
pub(crate) use function::self_types;

/// Checks every rule, and hands over the handler where enough of it is there to build one.
pub(crate) fn check<F: Framework>(
    given: &Given,
    function: &ItemFn,
    errors: &mut Errors,
) -> Option<Handler> {
    function::check(function, errors);
    let arguments = Arguments::read(function, errors);
    let policy = policy(given, errors);
    let scope = scope::check(given, &arguments, errors);
    let (body, content) = content::check::<F>(given, function, &arguments, errors);
    Some(Handler {
        function: function.clone(),
        roles: arguments.roles,
        transaction: arguments.transaction.map(|argument| argument.ty)?,
        attempt: arguments.attempt.map(|argument| argument.ty),
        extractors: arguments.extractors,
        body,
        scope,
        content,
        policy: policy?,
        store: store(given),
        root: root(given),
    })
}

/// A response that is remembered for ever, or for a time that nobody chose, is a bug that shows late.
fn policy(given: &Given, errors: &mut Errors) -> Option<Policy> {
    if given.lacks(Name::Ttl) {
        let problem = r#"missing argument `ttl`; say how long a response is remembered, such as `ttl = "24h"`"#;
        errors.at(proc_macro2::Span::call_site(), problem);
    }
    let duration = |name| match given.value(name) {
        Some(Value::Duration(duration)) => Some(duration.clone()),
        _ => None,
    };
    let choice = |name| match given.value(name) {
        Some(Value::Choice(choice)) => Some(*choice),
        _ => None,
    };
    let operation = match given.value(Name::Operation) {
        Some(Value::Operation(operation)) => Some(operation.clone()),
        _ => None,
    };
    Some(Policy {
        ttl: duration(Name::Ttl)?,
        wait: duration(Name::Wait),
        deadline: duration(Name::Deadline),
        replay: choice(Name::Replay),
        key: choice(Name::Key),
        isolation: choice(Name::Isolation),
        operation,
    })
}

fn store(given: &Given) -> Option<Type> {
    match given.value(Name::Store) {
        Some(Value::Type(ty)) => Some(Type::clone(ty)),
        _ => None,
    }
}

/// The path that `crate = …` gives; a fallback needs it too.
pub(crate) fn root(given: &Given) -> Option<syn::Path> {
    match given.value(Name::Crate) {
        Some(Value::Path(path)) => Some(path.clone()),
        _ => None,
    }
}
