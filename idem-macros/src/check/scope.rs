//! The scope has to be given. As the key can, it names an extracted argument or a field of one.

use proc_macro2::Span;

use super::arguments::Arguments;
use crate::errors::Errors;
use crate::model::Source;
use crate::options::Name;
use crate::parse::Given;
use crate::suggest;
use crate::value::{FieldPath, Value};

pub(crate) fn check(given: &Given, arguments: &Arguments, errors: &mut Errors) -> Option<Source> {
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
    let source = source(path, arguments);
    if source.is_none() {
        errors.at(path.literal.span(), unbound(path, "scope", arguments));
    }
    source
}

/// The argument that the path begins with.
pub(super) fn source(path: &FieldPath, arguments: &Arguments) -> Option<Source> {
    let extractor = arguments.binding(&path.argument)?;
    Some(Source {
        extractor,
        path: path.clone(),
    })
}

/// The message for a path whose first name no extractor binds. `role` is what the argument should be.
pub(super) fn unbound(path: &FieldPath, role: &str, arguments: &Arguments) -> String {
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
        "`{name}` is the {what} and can't be the {role}; {}",
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
