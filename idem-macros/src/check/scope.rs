//! The scope has to be given, and has to be the value of an extracted argument.

use proc_macro2::Span;

use super::arguments::Arguments;
use crate::errors::Errors;
use crate::model::Scope;
use crate::options::Name;
use crate::parse::Given;
use crate::suggest;
use crate::value::{FieldPath, Value};

pub(crate) fn check(given: &Given, arguments: &Arguments, errors: &mut Errors) -> Option<Scope> {
    if let (Some(_), Some(unscoped)) = (given.entry(Name::Scope), given.entry(Name::Unscoped)) {
        errors.at(
            unscoped.key.span(),
            "`unscoped` contradicts `scope`; remove one of the two",
        );
    }
    if given.lacks(Name::Scope) && given.lacks(Name::Unscoped) {
        let problem = r#"missing argument `scope`; name the owner of the keys, such as `scope = "tenant"`, or write `unscoped`"#;
        errors.at(Span::call_site(), problem);
    }
    let Some(Value::Field(path)) = given.value(Name::Scope) else {
        return None;
    };
    let Some(extractor) = arguments.binding(&path.argument) else {
        errors.at(path.literal.span(), unbound(path, arguments));
        return None;
    };
    Some(Scope {
        extractor,
        path: path.clone(),
    })
}

fn unbound(path: &FieldPath, arguments: &Arguments) -> String {
    let name = &path.argument;
    let what = if arguments
        .transaction
        .as_ref()
        .is_some_and(|transaction| transaction.binds(name))
    {
        "transaction"
    } else if arguments
        .attempt
        .as_ref()
        .is_some_and(|attempt| attempt.binds(name))
    {
        "attempt"
    } else {
        return no_argument(name, arguments);
    };
    format!(
        "`{name}` is the {what} and can't be the scope; {}",
        offer(name, arguments)
    )
}

/// The message for a name that no extractor binds.
pub(super) fn no_argument(name: &str, arguments: &Arguments) -> String {
    format!("no argument named `{name}`; {}", offer(name, arguments))
}

fn offer(name: &str, arguments: &Arguments) -> String {
    let names = arguments.names();
    if names.is_empty() {
        return "the handler extracts no argument that has a name".to_owned();
    }
    suggest::remedy(name, names.iter().map(String::as_str), '`')
}
