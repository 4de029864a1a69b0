//! The application's names for a place of its own.

use crate::config::ConfigError;

/// The most characters of a name: the servers cut longer names of tables and indexes.
const MOST: usize = 40;

/// Whether a name is the same with quotes and without, on every database.
fn is_plain(name: &str) -> bool {
    let is_start = |character: char| character.is_ascii_lowercase() || character == '_';
    name.len() <= MOST
        && name.starts_with(is_start)
        && name
            .chars()
            .all(|character| is_start(character) || character.is_ascii_digit())
}

/// A schema that idem alone uses.
#[cfg(feature = "postgres")]
pub(super) fn schema(name: &str) -> Result<&str, ConfigError> {
    let is_shared = name == "public" || name == "information_schema" || name.starts_with("pg_");
    if is_plain(name) && !is_shared {
        Ok(name)
    } else {
        Err(ConfigError::Schema(name.to_owned()))
    }
}

/// The beginning of the tables' names.
#[cfg(any(feature = "mysql", feature = "sqlite"))]
pub(super) fn table_prefix(name: &str) -> Result<&str, ConfigError> {
    if is_plain(name) {
        Ok(name)
    } else {
        Err(ConfigError::TablePrefix(name.to_owned()))
    }
}

#[cfg(all(test, feature = "postgres", feature = "mysql"))]
mod tests {
    use super::*;

    #[test]
    fn s6_name_is_the_same_with_quotes_and_without() {
        let longest = "a".repeat(MOST);
        for name in ["billing_idem", "_b2", "user", &longest] {
            assert_eq!(schema(name), Ok(name));
            assert_eq!(table_prefix(name), Ok(name));
        }
        let too_long = "a".repeat(MOST + 1);
        let others = [
            "", "Billing", "2b", "a-b", "a.b", "a\"b", "a`b", "a'b", "$$", "ü", &too_long,
        ];
        for name in others {
            assert_eq!(schema(name), Err(ConfigError::Schema(name.to_owned())));
            assert_eq!(
                table_prefix(name),
                Err(ConfigError::TablePrefix(name.to_owned()))
            );
        }
        for name in ["public", "information_schema", "pg_catalog"] {
            schema(name).unwrap_err();
        }
    }
}
