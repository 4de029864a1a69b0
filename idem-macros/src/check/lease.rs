//! A lease and steps belong together: the one without the other is a mistake. What an attempt does within its
//! deadline takes less than that.

use super::arguments::Arguments;
use super::known::{Known, is_connection, mentioned_connection};
use crate::errors::Errors;
use crate::options::Name;
use crate::parse::Given;
use crate::value::{Duration, Value};

/// The library's default, in seconds.
pub(crate) const DEFAULT_DEADLINE: u64 = 30;

/// Returns whether the name of the type that is taken by `&mut` leaves open if it has a lease.
pub(crate) fn check(given: &Given, arguments: &Arguments, errors: &mut Errors) -> bool {
    check_deadline(given, Name::Lease, errors);
    check_deadline(given, Name::RespondWithin, errors);
    let Some(transaction) = &arguments.transaction else {
        return false;
    };
    let ty = &transaction.ty;
    match (Known::of(ty), given.entry(Name::Lease)) {
        (Some(Known::Steps), None) if given.lacks(Name::Lease) => errors.spanned(
            ty,
            r#"a handler with steps holds its key by a lease; add `lease = "10s"` to the attribute"#,
        ),
        (Some(Known::Steps | Known::NoTransaction(_)), _) => {}
        _ if !is_connection(ty) => return true,
        (_, Some(lease)) => {
            let connection = mentioned_connection(ty);
            errors.at(
                lease.key.span(),
                format!("a handler in one transaction has no lease; remove `lease`, or take `&mut Steps<{connection}>`"),
            );
        }
        (_, None) => {}
    }
    false
}

/// A lease that outlives every attempt would never be renewed, and an early answer would never come.
fn check_deadline(given: &Given, name: Name, errors: &mut Errors) {
    let Some(entry) = given.entry(name) else {
        return;
    };
    let (deadline, text) = match (given.entry(Name::Deadline), given.value(Name::Deadline)) {
        (_, Some(Value::Duration(Duration { text, seconds }))) => (*seconds, format!("{text:?}")),
        (Some(_), _) => return,
        (None, _) => (
            DEFAULT_DEADLINE,
            format!("\"{DEFAULT_DEADLINE}s\" by default"),
        ),
    };
    if let Some(Value::Duration(given)) = &entry.value
        && given.seconds >= deadline
    {
        let word = &entry.key;
        errors.spanned(
            &entry.tokens,
            format!(
                "`{word}`, {:?}, is not less than the deadline, {text}; shorten `{word}`, or lengthen `deadline`",
                given.text
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn the_default_deadline_is_the_library_s() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../idem-core/src/policy.rs");
        let source = fs::read_to_string(path).unwrap();
        let line = format!(
            "pub const DEFAULT_DEADLINE: Duration = Duration::from_secs({DEFAULT_DEADLINE});"
        );
        assert!(source.contains(&line), "{line}");
    }
}
