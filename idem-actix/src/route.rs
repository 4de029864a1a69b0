//! The operation's name from a route's pattern.

/// The pattern as a template whose parameters have no regular expressions: `{id:\d{4}}` becomes
/// `{id}`, and a tail, `{path:.*}` or `{path}*`, becomes `{*path}`.
pub(crate) fn template(pattern: &str) -> String {
    let mut template = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(start) = rest.find('{') {
        let (before, parameter) = rest.split_at(start);
        let (inside, after) = parameter[1..].split_at(inside(&parameter[1..]));
        let after = after.strip_prefix('}').unwrap_or(after);
        let (name, expression) = inside.split_once(':').unwrap_or((inside, ""));
        let (is_tail, after) = match after.strip_prefix('*') {
            Some(after) => (true, after),
            None => (expression.trim() == ".*", after),
        };
        template.push_str(before);
        template.push_str(if is_tail { "{*" } else { "{" });
        template.push_str(name.trim());
        template.push('}');
        rest = after;
    }
    template + rest
}

/// The length up to the brace that closes the parameter: an expression has braces, too.
fn inside(parameter: &str) -> usize {
    let mut depth = 0_usize;
    let end = parameter.find(|character| {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => return true,
            '}' => depth -= 1,
            _ => {}
        }
        false
    });
    end.unwrap_or(parameter.len())
}

#[cfg(test)]
mod tests {
    use super::template;

    #[test]
    fn s1_expressions_are_no_part_of_the_operation() {
        for (pattern, expected) in [
            ("/payments", "/payments"),
            ("/accounts/{id}/payments", "/accounts/{id}/payments"),
            (
                r"/accounts/{id:\d{4,8}}/payments",
                "/accounts/{id}/payments",
            ),
            ("/files/{path:.*}", "/files/{*path}"),
            ("/files/{path}*", "/files/{*path}"),
            ("/{a}-{b:[a-z]+}", "/{a}-{b}"),
            ("/{open", "/{open}"),
        ] {
            assert_eq!(template(pattern), expected);
        }
    }
}
