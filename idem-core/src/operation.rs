//! Which endpoint a key is for (rule S1).

use std::fmt;

/// Which endpoint a key is for: `POST /accounts/{}/payments`, or a name of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Operation(Box<str>);

impl Operation {
    /// The operation that an attribute names, such as `create_payment`.
    pub fn named(name: &str) -> Self {
        Self(name.into())
    }

    /// The operation of a route: its method, and its whole template with the parameters' names
    /// erased, so that renaming one in a deploy changes nothing.
    ///
    /// ```
    /// # use idem_core::Operation;
    /// let operation = Operation::of_route("POST", "/accounts/{id}/files/{*path}");
    /// assert_eq!(operation.as_str(), "POST /accounts/{}/files/{*}");
    /// ```
    pub fn of_route(method: &str, template: &str) -> Self {
        let mut operation = format!("{method} ");
        let mut rest = template;
        while let Some(start) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(start);
            operation.push_str(before);
            if brace.starts_with("{{") || brace.starts_with("}}") {
                operation.push_str(&brace[..2]);
                rest = &brace[2..];
                continue;
            }
            let end = brace.find('}').map_or(brace.len(), |end| end + 1);
            operation.push_str(if brace.starts_with("{*") { "{*}" } else { "{}" });
            rest = &brace[end..];
        }
        operation.push_str(rest);
        Self(operation.into())
    }

    /// The operation as it is stored and logged.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s1_parameter_names_are_erased_and_braces_kept() {
        let of = |template| Operation::of_route("POST", template).as_str().to_owned();
        assert_eq!(of("/a/{id}/b"), of("/a/{account}/b"));
        assert_eq!(of("/a/{{id}}/{x}"), "POST /a/{{id}}/{}");
        assert_eq!(of("/"), "POST /");
        assert_ne!(of("/a/{id}"), of("/a/{*id}"));
    }
}
