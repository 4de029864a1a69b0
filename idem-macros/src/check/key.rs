//! The key is in a header, or in an extracted argument.

use super::arguments::Arguments;
use super::scope::{source, unbound};
use crate::choice::Need;
use crate::errors::Errors;
use crate::model::{Key, KeyPlace};
use crate::options::{Name, Spec};
use crate::parse::Given;
use crate::suggest;
use crate::value::{self, FieldPath, Value};

pub(crate) fn check(given: &Given, arguments: &Arguments, errors: &mut Errors) -> Key {
    let in_headers = |need, names| Key {
        need,
        place: KeyPlace::Headers(names),
    };
    let Some(Value::Key(value::Key { need, place })) = given.value(Name::Key) else {
        return in_headers(Need::Required, Vec::new());
    };
    let path = match place {
        value::KeyPlace::Headers(names) => return in_headers(*need, names.clone()),
        value::KeyPlace::Field(path) => path,
    };
    let Some(source) = source(path, arguments) else {
        let problem =
            misspelled(path, arguments).unwrap_or_else(|| unbound(path, "key", arguments));
        errors.at(path.literal.span(), problem);
        return in_headers(*need, Vec::new());
    };
    Key {
        need: *need,
        place: KeyPlace::Argument(source),
    }
}

/// The message for a misspelled word, such as `"optionl"`, or for a word where no argument has a name.
fn misspelled(path: &FieldPath, arguments: &Arguments) -> Option<String> {
    let word = path.literal.value();
    let names = arguments.names();
    if suggest::nearest(&word, names.iter().map(String::as_str)).is_some() {
        return None;
    }
    let words = || Spec::find("key").into_iter().flat_map(Spec::words);
    let words = || words().map(|word| word.text);
    let is_word = suggest::nearest(&word, words()).is_some();
    (is_word || names.is_empty() && path.fields.is_empty()).then(|| {
        let remedy = suggest::remedy(&word, words(), '"');
        format!("unknown value {word:?} for `key`; {remedy}")
    })
}
