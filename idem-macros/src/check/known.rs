//! Types that are recognised by their names, so that a message can name the right one. A macro can't resolve paths:
//! a type under another name is left to the compiler.

use quote::ToTokens;
use syn::{GenericArgument, Path, PathArguments, PathSegment, Type};

use crate::suggest;

/// The databases, as sqlx names them, and the beginnings of their types' names.
const DATABASES: [(&str, &str); 3] = [("Postgres", "Pg"), ("MySql", "MySql"), ("Sqlite", "Sqlite")];
/// sqlx's choice of the database at run time, for which there is no store.
const ANY: &str = "Any";

/// A type that belongs to a transaction, or is mistaken for one.
pub(super) enum Known {
    Attempt,
    /// A connection or a transaction that a store can open.
    Transaction,
    /// The steps of a handler with a lease.
    Steps,
    /// A type that no store can open, with the reason and the remedy.
    NoTransaction(String),
}

impl Known {
    pub(super) fn of(ty: &Type) -> Option<Self> {
        let path = path(ty)?;
        let segment = path.segments.last()?;
        if segment.ident == "Attempt" {
            let first = path.segments.first()?.ident.to_string();
            return (path.segments.len() == 1 || first.starts_with("idem"))
                .then_some(Self::Attempt);
        }
        if segment.ident == "Steps" {
            return Some(Self::Steps);
        }
        let (database, kind) = kind(segment)?;
        let connection = connection(&database);
        let problem = match kind.as_str() {
            _ if database == ANY => format!("`{ANY}` has no store; take {connection}"),
            "Connection" | "Transaction" => return Some(Self::Transaction),
            "Pool" => format!("a pool is not a transaction; take {connection}"),
            "PoolConnection" => {
                format!("a pool's connection is not in the transaction; take {connection}")
            }
            _ => return None,
        };
        Some(Self::NoTransaction(problem))
    }
}

/// Whether the name is one of a connection or of a transaction, of whatever database.
pub(super) fn is_connection(ty: &Type) -> bool {
    let last = path(ty).and_then(|path| path.segments.last());
    last.is_some_and(|last| last.ident == "Transaction" || last.ident == "Shared")
        || matches!(Known::of(ty), Some(Known::Transaction))
}

fn path(ty: &Type) -> Option<&Path> {
    match ty {
        Type::Group(group) => path(&group.elem),
        Type::Paren(paren) => path(&paren.elem),
        Type::Path(ty) => Some(&ty.path),
        _ => None,
    }
}

/// The database of a type of sqlx and the rest of the type's name: of `PgPool` as of `Pool<Postgres>`.
fn kind(segment: &PathSegment) -> Option<(String, String)> {
    let name = segment.ident.to_string();
    if let PathArguments::AngleBracketed(arguments) = &segment.arguments
        && let Some(GenericArgument::Type(Type::Path(last))) = arguments.args.last()
    {
        let database = last.path.segments.last()?.ident.to_string();
        let is_known = database == ANY || DATABASES.iter().any(|(known, _)| *known == database);
        return is_known.then_some((database, name));
    }
    let prefixes = DATABASES.into_iter().chain([(ANY, ANY)]);
    prefixes
        .filter_map(|(database, prefix)| Some((database, name.strip_prefix(prefix)?)))
        .find(|(_, kind)| ["Connection", "Transaction", "Pool"].contains(kind))
        .map(|(database, kind)| (database.to_owned(), kind.to_owned()))
}

/// The type of a handler's transaction, in words.
fn connection(database: &str) -> String {
    let connections = |wanted: &dyn Fn(&str) -> bool| -> Vec<String> {
        let of = DATABASES.iter().filter(|(name, _)| wanted(name));
        of.map(|(_, prefix)| format!("&mut {prefix}Connection"))
            .collect()
    };
    let mut found = connections(&|name| name == database);
    if found.is_empty() {
        found = connections(&|_| true);
    }
    suggest::list(found.iter().map(String::as_str), '`')
}

/// The connection of the database that a handler's other types mention.
pub(super) fn mentioned_connection(tokens: impl ToTokens) -> &'static str {
    let text = tokens.into_token_stream().to_string();
    let mut words = text.split(|letter: char| !letter.is_alphanumeric() && letter != '_');
    let found = words.find_map(|word| match word {
        _ if word.starts_with("MySql") => Some("MySqlConnection"),
        _ if word.starts_with("Sqlite") => Some("SqliteConnection"),
        _ if word.starts_with("Pg") || word.starts_with("Postgres") => Some("PgConnection"),
        _ => None,
    });
    found.unwrap_or("PgConnection")
}
