//! "Did you mean" and "expected one of": the remedies for a misspelled word. And code as a message shows it.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;

/// The remedy for an unknown `word`: the nearest of `choices`, or else all of them, in quotes of the kind `quote`.
pub(crate) fn remedy<'a>(
    word: &str,
    choices: impl IntoIterator<Item = &'a str>,
    quote: char,
) -> String {
    let choices: Vec<&str> = choices.into_iter().collect();
    if let Some(near) = nearest(word, choices.iter().copied()) {
        return format!("did you mean {quote}{near}{quote}?");
    }
    match choices.as_slice() {
        [_] | [_, _] => format!("expected {}", list(choices, quote)),
        _ => format!("expected one of {}", list(choices, quote)),
    }
}

/// The one of `choices` that `word` probably stands for.
///
/// A word of up to five letters may have one typing error, a longer one may have one for every three letters. Upper and
/// lower case are equal.
pub(crate) fn nearest<'a>(
    word: &str,
    choices: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = word.to_lowercase();
    let allowed = (word.chars().count() / 3).max(1);
    choices
        .into_iter()
        .map(|choice| (distance(&word, &choice.to_lowercase()), choice))
        .filter(|(distance, choice)| *distance <= allowed && *distance < choice.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, choice)| choice)
}

/// Quoted words, separated by commas and a final "or".
pub(crate) fn list<'a>(words: impl IntoIterator<Item = &'a str>, quote: char) -> String {
    let quoted: Vec<String> = words
        .into_iter()
        .map(|word| format!("{quote}{word}{quote}"))
        .collect();
    match quoted.as_slice() {
        [init @ .., last] if !init.is_empty() => format!("{} or {last}", init.join(", ")),
        _ => quoted.concat(),
    }
}

/// Types, paths and bounds, spaced as rustfmt does it.
pub(crate) fn source(tokens: impl ToTokens) -> String {
    let mut text = String::new();
    write_source(&mut text, tokens.into_token_stream());
    text
}

fn write_source(text: &mut String, tokens: TokenStream) {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
    for token in tokens {
        let (piece, inside, close) = match token {
            TokenTree::Group(group) => match group.delimiter() {
                Delimiter::Parenthesis => ("(".to_owned(), group.stream(), ")"),
                Delimiter::Bracket => ("[".to_owned(), group.stream(), "]"),
                Delimiter::Brace => ("{".to_owned(), group.stream(), "}"),
                Delimiter::None => (String::new(), group.stream(), ""),
            },
            token => (token.to_string(), TokenStream::new(), ""),
        };
        let before_word = piece.starts_with(is_word);
        if text.ends_with([',', ';', '+', '='])
            || text.ends_with("->")
            || ["+", "=", "-"].contains(&piece.as_str())
            || before_word && text.ends_with(|last: char| is_word(last) || last == '>')
        {
            text.push(' ');
        }
        text.push_str(&piece);
        write_source(text, inside);
        text.push_str(close);
    }
}

/// The number of insertions, deletions, substitutions and swaps of neighbours that turn one word into the other
/// (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for i in 1..=left.len() {
        let mut row = vec![i];
        for j in 1..=right.len() {
            let substitution = above[j - 1] + usize::from(left[i - 1] != right[j - 1]);
            let mut best = substitution.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_error_of_each_kind_is_recognised() {
        for slip in ["scop", "scoope", "scppe", "socpe", "SCOPE"] {
            assert_eq!(
                nearest(slip, ["ttl", "scope", "store"]),
                Some("scope"),
                "{slip}"
            );
        }
    }

    #[test]
    fn the_nearest_choice_wins() {
        assert_eq!(nearest("unscope", ["scope", "unscoped"]), Some("unscoped"));
        assert_eq!(nearest("tennant", ["tenants", "tenant"]), Some("tenant"));
    }

    #[test]
    fn another_word_is_not_a_typing_error() {
        for word in ["", "t", "expires", "store", "x"] {
            assert_eq!(nearest(word, ["scope"]), None, "{word}");
        }
        assert_eq!(
            nearest("x", ["y"]),
            None,
            "a single letter has nothing in common with another"
        );
    }

    #[test]
    fn code_is_spaced_as_it_is_written() {
        for text in [
            "Transaction<'_, Postgres>",
            "&'a mut sqlx::Transaction<'a, Postgres>",
            "Into<String> + Send + 'static",
            "for<'c> Open<'c> + ?Sized",
            "Fn(&str, [u8; 4]) -> (A, &B)",
            "Iterator<Item = (A, Vec<B>)>",
            "<T as Into<String>>::Out",
        ] {
            let tokens: TokenStream = text.parse().unwrap();
            assert_eq!(source(tokens), text);
        }
    }

    #[test]
    fn distances() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "ba", 1),
            ("kitten", "sitting", 3),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn a_near_miss_comes_before_all_choices() {
        assert_eq!(
            remedy("finale", ["success", "final", "all"], '"'),
            "did you mean \"final\"?"
        );
        assert_eq!(
            remedy("none", ["success", "final", "all"], '"'),
            "expected one of \"success\", \"final\" or \"all\""
        );
        assert_eq!(remedy("x", ["tenant"], '`'), "expected `tenant`");
        assert_eq!(
            remedy("x", ["tenant", "app"], '`'),
            "expected `tenant` or `app`"
        );
    }
}
