//! Reads the value after an option's `=`.

use proc_macro2::{Delimiter, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Error, ExprPath, Ident, LitStr, Member, Path, Result, Token, Type, parse2};

use crate::choice::{Choice, Need};
use crate::options::{Shape, Spec, Word};
use crate::{duration, size, suggest};

/// The value of an option. The option's [`Shape`] decides which kind it has.
#[derive(Clone)]
pub(crate) enum Value {
    Flag,
    Duration(Duration),
    /// A number of bytes.
    Size(u64),
    Choice(Choice),
    Function(ExprPath),
    Argument(LitStr),
    Field(FieldPath),
    Key(Key),
    /// Parameters of the query that are left out.
    Except(Vec<String>),
    Headers(Vec<String>),
    Cookies(Vec<String>),
    Operation(String),
    Type(Box<Type>),
    /// The type of an extractor.
    Extractor(Box<Type>),
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

impl FieldPath {
    /// The name by which clients know the field: the path after the argument, if there is one.
    pub(crate) fn client_name(&self) -> String {
        let text = self.literal.value();
        let fields = text.split_once('.').map(|(_, fields)| fields.to_owned());
        fields.unwrap_or(text)
    }
}

/// Where the key is, and whether a request can be without it.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) need: Need,
    pub(crate) place: KeyPlace,
}

#[derive(Clone)]
pub(crate) enum KeyPlace {
    /// In the first of these headers that is sent. Without any, in the application's header.
    Headers(Vec<String>),
    Field(FieldPath),
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
        Shape::Size => size(&string(spec, tokens)?).map(Value::Size),
        Shape::Field => field(spec, string(spec, tokens)?).map(Value::Field),
        Shape::Key(words) => key(spec, words, tokens).map(Value::Key),
        Shape::WordOrExcept(words) => word_or_except(spec, words, tokens),
        Shape::Headers => {
            let headers = call(tokens).filter(|(name, _)| name == HEADER);
            let (_, names) = headers.ok_or_else(|| no_headers(spec, tokens))?;
            header_names(spec, tokens, names).map(Value::Headers)
        }
        Shape::WordOrCookies(words) => word_or_cookies(spec, words, tokens),
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
        Shape::TypeOrExtractor => {
            let extractor = call(tokens).filter(|(name, _)| name == EXTRACTOR);
            let (tokens, value): (_, fn(_) -> _) = match extractor {
                Some((_, inside)) => (inside, Value::Extractor),
                None => (tokens.clone(), Value::Type),
            };
            parse2(tokens.clone())
                .map(|ty| value(Box::new(ty)))
                .map_err(|_| unquoted(spec, "type", &tokens))
        }
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

fn size(literal: &LitStr) -> Result<u64> {
    let text = literal.value();
    size::parse(&text)
        .map_err(|problem| invalid(literal, format!("invalid size {text:?}: {problem}")))
}

fn field(spec: &Spec, literal: LitStr) -> Result<FieldPath> {
    let text = literal.value();
    let wrong = || {
        let remedy = format!(
            "name an argument or a field of one, such as `{}`",
            spec.example
        );
        invalid(
            &literal,
            format!("invalid {} {text:?}; {remedy}", spec.word),
        )
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

const HEADER: &str = "header";
const COOKIE: &str = "cookie";
const OPTIONAL: &str = "optional";
const EXCEPT: &str = "except";
const EXTRACTOR: &str = "extractor";

/// As many as the adapters have types for.
const MOST_HEADERS: usize = 8;
/// As long as the adapters' type of a name can be.
const LONGEST_HEADER: usize = 64;

fn key(spec: &Spec, words: &[Word], tokens: &TokenStream) -> Result<Key> {
    let headers = |need, names| Key {
        need,
        place: KeyPlace::Headers(names),
    };
    if let Ok(literal) = string(spec, tokens) {
        let word = words.iter().find(|word| word.text == literal.value());
        if let Some(Choice::Key(need)) = word.map(|word| word.choice) {
            return Ok(headers(need, Vec::new()));
        }
        if literal.value().contains('-') && header_name(&literal).is_ok() {
            let text = literal.value();
            let remedy = format!("a header is written `{} = {HEADER}({text:?})`", spec.word);
            return Err(invalid(
                &literal,
                format!("{text:?} is not an argument; {remedy}"),
            ));
        }
        return Ok(Key {
            need: Need::Required,
            place: KeyPlace::Field(field(spec, literal)?),
        });
    }
    match call(tokens) {
        Some((name, inside)) if name == HEADER => {
            let names = header_names(spec, tokens, inside)?;
            Ok(headers(Need::Required, names))
        }
        Some((name, inside)) if name == OPTIONAL => match key(spec, &[], &inside)? {
            Key {
                need: Need::Required,
                place,
            } => Ok(Key {
                need: Need::Optional,
                place,
            }),
            Key { .. } => Err(invalid(
                inside,
                format!("duplicate `{OPTIONAL}`; remove one of the two"),
            )),
        },
        Some((name, _)) => {
            let remedy = suggest::remedy(&name.to_string(), [HEADER, OPTIONAL], '`');
            Err(invalid(
                &name,
                format!("unknown `{name}` for `{}`; {remedy}", spec.word),
            ))
        }
        None => {
            let text = tokens.to_string().replace(' ', "");
            let is_path = text
                .split('.')
                .all(|part| is_identifier(part) && part != HEADER);
            Err(invalid(
                tokens,
                if is_path {
                    format!("expected a string; write `{} = {text:?}`", spec.word)
                } else {
                    format!(
                        "expected a string or headers, such as `{0}` or `{1} = {HEADER}(\"webhook-id\")`",
                        spec.example, spec.word
                    )
                },
            ))
        }
    }
}

fn word_or_except(spec: &Spec, words: &[Word], tokens: &TokenStream) -> Result<Value> {
    if let Ok(literal) = string(spec, tokens) {
        return one_of(spec, words, &literal);
    }
    let Some((_, inside)) = call(tokens).filter(|(name, _)| name == EXCEPT) else {
        let words = suggest::list(words.iter().map(|word| word.text), '"');
        return Err(invalid(
            tokens,
            format!(
                "expected {words}, or parameters to leave out, such as `{}`",
                spec.example
            ),
        ));
    };
    let mut names = Vec::new();
    for literal in strings(spec, tokens, inside)? {
        let name = literal.value();
        if name.is_empty() || name.contains(['&', '=', '?', '#']) {
            return Err(invalid(
                &literal,
                format!(
                    "invalid parameter {name:?}; write its name, as in `{}`",
                    spec.example
                ),
            ));
        }
        names.push(name);
    }
    Ok(Value::Except(names))
}

fn word_or_cookies(spec: &Spec, words: &[Word], tokens: &TokenStream) -> Result<Value> {
    if let Some((_, names)) = call(tokens).filter(|(name, _)| name == COOKIE) {
        return cookie_names(spec, tokens, names).map(Value::Cookies);
    }
    let texts = || words.iter().map(|word| word.text);
    let Ok(literal) = string(spec, tokens) else {
        let words = suggest::list(texts(), '"');
        return Err(invalid(
            tokens,
            format!("expected {words} or cookies, such as `{}`", spec.example),
        ));
    };
    let text = literal.value();
    let is_near = suggest::nearest(&text, texts()).is_some();
    one_of(spec, words, &literal).map_err(|error| {
        if is_near {
            return error;
        }
        let remedy = format!("a cookie is written `{} = {COOKIE}({text:?})`", spec.word);
        unknown(spec, &literal, &remedy)
    })
}

/// The names of headers, in lower case.
fn header_names(spec: &Spec, tokens: &TokenStream, inside: TokenStream) -> Result<Vec<String>> {
    let names = different(strings(spec, tokens, inside)?, HEADER, header_name)?;
    match names.get(MOST_HEADERS) {
        Some((literal, _)) => Err(invalid(
            literal,
            format!("more than {MOST_HEADERS} headers; remove this one"),
        )),
        None => Ok(names.into_iter().map(|(_, name)| name).collect()),
    }
}

/// The names of cookies, as they are written: upper and lower case are different.
fn cookie_names(spec: &Spec, tokens: &TokenStream, inside: TokenStream) -> Result<Vec<String>> {
    let name = |literal: &LitStr| token(literal, COOKIE, literal.value());
    let names = different(strings(spec, tokens, inside)?, COOKIE, name)?;
    Ok(names.into_iter().map(|(_, name)| name).collect())
}

/// The names in the literals, no two of which are the same.
fn different(
    literals: Vec<LitStr>,
    what: &str,
    name: impl Fn(&LitStr) -> Result<String>,
) -> Result<Vec<(LitStr, String)>> {
    let mut names: Vec<(LitStr, String)> = Vec::new();
    for literal in literals {
        let name = name(&literal)?;
        if names.iter().any(|(_, other)| *other == name) {
            return Err(invalid(
                &literal,
                format!("duplicate {what} {name:?}; remove one of the two"),
            ));
        }
        names.push((literal, name));
    }
    Ok(names)
}

fn header_name(literal: &LitStr) -> Result<String> {
    let name = token(literal, HEADER, literal.value().to_lowercase())?;
    if name.len() <= LONGEST_HEADER {
        return Ok(name);
    }
    let text = literal.value();
    let length = name.len();
    let problem = format!(
        "invalid {HEADER} {text:?}: it has {length} characters, and {LONGEST_HEADER} are allowed"
    );
    Err(invalid(literal, problem))
}

/// A token of HTTP, such as the name of a header or of a cookie.
fn token(literal: &LitStr, what: &str, name: String) -> Result<String> {
    let stray = name
        .chars()
        .find(|letter| !letter.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(*letter));
    let problem = match stray {
        Some(letter) => format!("{letter:?} is not allowed"),
        None if name.is_empty() => "it is empty".to_owned(),
        None => return Ok(name),
    };
    Err(invalid(
        literal,
        format!("invalid {what} {:?}: {problem}", literal.value()),
    ))
}

/// The remedy for a header that is written as a string, or for anything else.
fn no_headers(spec: &Spec, tokens: &TokenStream) -> Error {
    let name = string(spec, tokens).and_then(|literal| header_name(&literal));
    invalid(
        tokens,
        match name {
            Ok(name) => format!(
                "expected headers; write `{} = {HEADER}({name:?})`",
                spec.word
            ),
            Err(_) => format!("expected headers, such as `{}`", spec.example),
        },
    )
}

/// `name(…)`.
fn call(tokens: &TokenStream) -> Option<(Ident, TokenStream)> {
    let mut tokens = tokens.clone().into_iter();
    match (tokens.next(), tokens.next(), tokens.next()) {
        (Some(TokenTree::Ident(name)), Some(TokenTree::Group(inside)), None)
            if inside.delimiter() == Delimiter::Parenthesis =>
        {
            Some((name, inside.stream()))
        }
        _ => None,
    }
}

/// One or more strings, separated by commas. `tokens` is what they are inside of.
fn strings(spec: &Spec, tokens: &TokenStream, inside: TokenStream) -> Result<Vec<LitStr>> {
    let strings = Punctuated::<LitStr, Token![,]>::parse_terminated.parse2(inside);
    let strings: Vec<LitStr> = strings.into_iter().flatten().collect();
    if strings.is_empty() {
        return Err(invalid(
            tokens,
            format!(
                "expected names as strings, such as `{}`",
                spec.list_example()
            ),
        ));
    }
    Ok(strings)
}

/// Whether `text` is one identifier and nothing else. The parser alone would also accept comments and spaces.
fn is_identifier(text: &str) -> bool {
    syn::parse_str::<Ident>(text).is_ok_and(|ident| ident == text && ident != "_")
}

fn operation(literal: &LitStr) -> Result<String> {
    let allowed = |letter: char| letter.is_ascii_alphanumeric() || "_.:-".contains(letter);
    name("operation", literal, allowed, 100, "A-Z a-z 0-9 _ . : -")
}

/// The name of a step.
pub(crate) fn step(literal: &LitStr) -> Result<String> {
    let allowed = |letter: char| {
        letter.is_ascii_lowercase() || letter.is_ascii_digit() || "_.-".contains(letter)
    };
    name("step", literal, allowed, 64, "a-z 0-9 _ . -")
}

/// A name of up to `longest` letters. `letters` says in a message which ones are `allowed`.
fn name(
    what: &str,
    literal: &LitStr,
    allowed: impl Fn(char) -> bool,
    longest: usize,
    letters: &str,
) -> Result<String> {
    let text = literal.value();
    let length = text.chars().count();
    let stray = text.chars().find(|letter| !allowed(*letter));
    let problem = match (stray, length) {
        (Some(letter), _) => format!("{letter:?} is not allowed"),
        (None, 0) => "it is empty".to_owned(),
        (None, _) if length <= longest => return Ok(text),
        (None, _) => format!("it has {length} characters"),
    };
    Err(invalid(
        literal,
        format!(
            "invalid {what} {text:?}: {problem}; use 1 to {longest} of the characters `{letters}`"
        ),
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
