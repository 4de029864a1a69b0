//! Reads the value after an option's `=`.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::{Error, ExprPath, Ident, LitStr, Member, Path, Result, Type, parse2};

use crate::choice::Choice;
use crate::options::{Shape, Spec, Word};
use crate::{duration, suggest};

/// The value of an option. The option's [`Shape`] decides which kind it has.
#[derive(Clone)]
pub(crate) enum Value {
    Flag,
    Duration(Duration),
    Choice(Choice),
    Function(ExprPath),
    Argument(LitStr),
    Field(FieldPath),
    Operation(String),
    Type(Box<Type>),
    Path(Path),
}

/// A duration, as it is written and in seconds.
#[derive(Clone)]
pub(crate) struct Duration {
    pub(crate) text: String,
    pub(crate) seconds: u64,
}

/// An argument, or a field of one: `"claims.tenant_id"`.
#[derive(Clone)]
pub(crate) struct FieldPath {
    pub(crate) literal: LitStr,
    pub(crate) argument: String,
    pub(crate) fields: Vec<Member>,
}

/// Reads `tokens`: everything between the option's `=` and the next comma. A flag has none.
///
/// # Errors
///
/// The problem and its remedy, at the value.
pub(crate) fn read(spec: &'static Spec, tokens: &TokenStream) -> Result<Value> {
    match spec.shape {
        Shape::Flag => Err(invalid(
            tokens,
            format!("`{0}` takes no value; write `{0}`", spec.word),
        )),
        Shape::Duration { zero } => duration(&string(spec, tokens)?, zero).map(Value::Duration),
        Shape::Field => field(spec, string(spec, tokens)?).map(Value::Field),
        Shape::Operation => operation(&string(spec, tokens)?).map(Value::Operation),
        Shape::Word(words) => one_of(spec, words, &string(spec, tokens)?),
        Shape::WordOrFunction(words) => word_or_function(spec, words, tokens),
        Shape::WordOrArgument(words) => {
            let literal = string(spec, tokens)?;
            let word = words.iter().find(|word| word.text == literal.value());
            Ok(word.map_or(Value::Argument(literal), |word| Value::Choice(word.choice)))
        }
        Shape::Type => parse2(tokens.clone())
            .map(|ty| Value::Type(Box::new(ty)))
            .map_err(|_| unquoted(spec, "type", tokens)),
        Shape::Path => {
            let path = Path::parse_mod_style.parse2(tokens.clone());
            path.map(Value::Path)
                .map_err(|_| unquoted(spec, "path", tokens))
        }
    }
}

fn string(spec: &Spec, tokens: &TokenStream) -> Result<LitStr> {
    parse2::<LitStr>(tokens.clone())
        .ok()
        .filter(|literal| literal.suffix().is_empty())
        .ok_or_else(|| {
            invalid(
                tokens,
                format!("expected a string, such as `{}`", spec.example),
            )
        })
}

fn unquoted(spec: &Spec, what: &str, tokens: &TokenStream) -> Error {
    let quotes = if is_string(tokens) {
        ", written without quotes"
    } else {
        ""
    };
    invalid(
        tokens,
        format!("expected a {what}{quotes}, such as `{}`", spec.example),
    )
}

fn duration(literal: &LitStr, zero: bool) -> Result<Duration> {
    let text = literal.value();
    let problem = match duration::parse(&text) {
        Ok(0) if !zero => "it must be more than zero".to_owned(),
        Ok(seconds) => return Ok(Duration { text, seconds }),
        Err(problem) => problem,
    };
    Err(invalid(
        literal,
        format!("invalid duration {text:?}: {problem}"),
    ))
}

fn field(spec: &Spec, literal: LitStr) -> Result<FieldPath> {
    let text = literal.value();
    let wrong = || {
        let remedy = format!(
            "name an argument or a field of one, such as `{}`",
            spec.example
        );
        invalid(&literal, format!("invalid scope {text:?}; {remedy}"))
    };
    let mut parts = text.split('.');
    let argument = parts
        .next()
        .filter(|part| is_identifier(part))
        .ok_or_else(wrong)?
        .to_owned();
    let mut fields = Vec::new();
    for part in parts {
        fields.push(member(part, &literal).ok_or_else(wrong)?);
    }
    Ok(FieldPath {
        literal,
        argument,
        fields,
    })
}

fn member(text: &str, literal: &LitStr) -> Option<Member> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        let index: u32 = text.parse().ok()?;
        return Some(Member::Unnamed(syn::Index {
            index,
            span: literal.span(),
        }));
    }
    let mut name: Ident = is_identifier(text).then(|| syn::parse_str(text).ok())??;
    name.set_span(literal.span());
    Some(Member::Named(name))
}

/// Whether `text` is one identifier and nothing else. The parser alone would also accept comments and spaces.
fn is_identifier(text: &str) -> bool {
    syn::parse_str::<Ident>(text).is_ok_and(|ident| ident == text && ident != "_")
}

fn operation(literal: &LitStr) -> Result<String> {
    const REMEDY: &str = "use 1 to 100 of the characters `A-Z a-z 0-9 _ . : -`";
    let text = literal.value();
    let length = text.chars().count();
    let stray = text
        .chars()
        .find(|letter| !letter.is_ascii_alphanumeric() && !"_.:-".contains(*letter));
    let problem = match (stray, length) {
        (Some(letter), _) => format!("{letter:?} is not allowed"),
        (None, 0) => "it is empty".to_owned(),
        (None, 1..=100) => return Ok(text),
        (None, _) => format!("it has {length} characters"),
    };
    Err(invalid(
        literal,
        format!("invalid operation {text:?}: {problem}; {REMEDY}"),
    ))
}

/// The meaning of the literal, which has to be one of `words`.
fn one_of(spec: &Spec, words: &[Word], literal: &LitStr) -> Result<Value> {
    let text = literal.value();
    if let Some(word) = words.iter().find(|word| word.text == text) {
        return Ok(Value::Choice(word.choice));
    }
    let remedy = suggest::remedy(&text, words.iter().map(|word| word.text), '"');
    Err(unknown(spec, literal, &remedy))
}

fn word_or_function(spec: &Spec, words: &[Word], tokens: &TokenStream) -> Result<Value> {
    if let Ok(literal) = string(spec, tokens) {
        let text = literal.value();
        let is_near = suggest::nearest(&text, words.iter().map(|word| word.text)).is_some();
        let is_path = Path::parse_mod_style.parse_str(&text).is_ok();
        return one_of(spec, words, &literal).map_err(|error| {
            if is_near || !is_path {
                return error;
            }
            unknown(spec, &literal, "a function is written without quotes")
        });
    }
    let function = parse2::<ExprPath>(tokens.clone()).map_err(|_| {
        let words = words
            .iter()
            .map(|word| format!("{:?}", word.text))
            .collect::<Vec<_>>()
            .join(", ");
        invalid(
            tokens,
            format!(
                "expected {words} or the path of a function, such as `{}`",
                spec.example
            ),
        )
    })?;
    // The word without its quotes is more likely than a function of that name, which can be given as `self::raw`.
    let bare = function
        .path
        .get_ident()
        .map(|ident| ident.unraw().to_string());
    match words.iter().find(|word| bare.as_deref() == Some(word.text)) {
        Some(word) => Err(invalid(
            tokens,
            format!("expected a string; write `{} = {:?}`", spec.word, word.text),
        )),
        None => Ok(Value::Function(function)),
    }
}

fn unknown(spec: &Spec, literal: &LitStr, remedy: &str) -> Error {
    let text = literal.value();
    invalid(
        literal,
        format!("unknown value {text:?} for `{}`; {remedy}", spec.word),
    )
}

fn is_string(tokens: &TokenStream) -> bool {
    parse2::<LitStr>(tokens.clone()).is_ok()
}

fn invalid(tokens: impl ToTokens, message: String) -> Error {
    Error::new_spanned(tokens, message)
}
