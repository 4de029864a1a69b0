//! The rules of a handler, one function each.

use syn::{ItemFn, Type};

use crate::choice::Choice;
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

use arguments::Arguments;
pub(crate) use function::self_types;

/// Checks every rule. The handler can be incomplete after a mistake, and then there is none.
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
        store: ty(given, Name::Store),
        state: state::<F>(given, errors),
        root: root(given),
    })
}

/// No default is right for `ttl`: a client that retries after it runs the handler again, and until then the record
/// takes space.
fn policy(given: &Given, errors: &mut Errors) -> Option<Policy> {
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
    let key = match given.value(Name::Key) {
        Some(Value::Choice(Choice::Key(key))) => Some(*key),
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
    Some(Policy {
        ttl: duration(Name::Ttl)?,
        wait: duration(Name::Wait),
        deadline: duration(Name::Deadline),
        replay,
        key,
        isolation,
        operation,
    })
}

/// The state of the router, on a framework that has one.
fn state<F: Framework>(given: &Given, errors: &mut Errors) -> Option<Type> {
    if let (Some(entry), Err(problem)) = (given.entry(Name::State), F::STATE) {
        errors.at(entry.key.span(), problem);
    }
    ty(given, Name::State)
}

fn ty(given: &Given, name: Name) -> Option<Type> {
    match given.value(name) {
        Some(Value::Type(ty)) => Some(Type::clone(ty)),
        _ => None,
    }
}

/// The path in `crate = …`. A fallback needs it too.
pub(crate) fn root(given: &Given) -> Option<syn::Path> {
    match given.value(Name::Crate) {
        Some(Value::Path(path)) => Some(path.clone()),
        _ => None,
    }
}
