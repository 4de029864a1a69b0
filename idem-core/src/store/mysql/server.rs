//! All differences between MariaDB and MySQL.

/// Which of the two a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Server {
    /// From 10.6 on, the first with `SKIP LOCKED`.
    MariaDb,
    /// From 8.0 on, the first with `NOWAIT`.
    MySql,
}

impl Server {
    /// The server with this version, or the reason why it can't be used.
    pub(super) fn of(version: &str) -> Result<Self, String> {
        let mut numbers = version
            .split(|character: char| !character.is_ascii_digit())
            .map(|part| part.parse().unwrap_or(0_u32));
        let number = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        let (server, least) = if version.to_ascii_lowercase().contains("mariadb") {
            (Self::MariaDb, (10, 6))
        } else {
            (Self::MySql, (8, 0))
        };
        if number < least {
            return Err(format!(
                "the server is {version}; use MariaDB 10.6 or MySQL 8.0, or a later version"
            ));
        }
        Ok(server)
    }

    /// At the end of a SELECT: fails where another transaction holds the row, instead of waiting.
    pub(super) fn shared_lock(self) -> &'static str {
        match self {
            Self::MariaDb => "LOCK IN SHARE MODE NOWAIT",
            Self::MySql => "FOR SHARE NOWAIT",
        }
    }

    /// Before a statement that is not to wait for another transaction's lock. `None` where an INSERT waits for a
    /// second at least, so that a read without waiting has to come first.
    pub(super) fn at_once(self) -> Option<&'static str> {
        match self {
            Self::MariaDb => Some("SET STATEMENT innodb_lock_wait_timeout = 0 FOR "),
            Self::MySql => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_recognised_by_their_versions() {
        for (version, server) in [
            ("10.11.14-MariaDB-0+deb12u2", Server::MariaDb),
            ("11.8.3-MariaDB-ubu2404-log", Server::MariaDb),
            ("10.6.0-mariadb", Server::MariaDb),
            ("8.0.36", Server::MySql),
            ("8.0.35-27.1", Server::MySql),
            ("8.4.3-commercial", Server::MySql),
            ("9.7.4-2", Server::MySql),
        ] {
            assert_eq!(Server::of(version), Ok(server), "{version}");
        }
        for version in ["10.5.21-MariaDB", "5.7.44-log", "", "unknown"] {
            let message = Server::of(version).unwrap_err();
            assert!(message.contains("MySQL 8.0"), "{message}");
        }
    }

    #[test]
    fn an_insert_does_not_wait_on_mariadb_and_waits_for_a_second_on_mysql() {
        let at_once = "SET STATEMENT innodb_lock_wait_timeout = 0 FOR ";
        assert_eq!(Server::MariaDb.at_once(), Some(at_once));
        assert_eq!(Server::MySql.at_once(), None);
    }
}
