//! What is said to a wrong command line, and to a database that is not there.

use idem_tests::{Database as _, Postgres};

use crate::program::{idem, idem_with};

const K1: [&str; 7] = ["show", "--scope", "a", "--operation", "o", "--key", "k1"];

#[tokio::test]
async fn a_password_is_never_shown() {
    for url in [
        "postgres://me:hunter2@127.0.0.1:port/db",
        "postgres://me:hunter2@127.0.0.1:1/db?sslmode=wrong",
        "postgres://me:hunter2@127.0.0.1:1/db?passwd=hunter2",
        "postgres://me:hunter2@[::1",
        "mysql://me:hunter2@127.0.0.1:1/db",
        "mysql://me:hunter2@127.0.0.1:1/db?ssl-mode=wrong",
        "redis://me:hunter2@127.0.0.1:1/",
        "redis://me:hunter2@127.0.0.1:1/db",
        "redis://me:hunter2@127.0.0.1:port/",
        "rediss://me:hunter2@127.0.0.1:1/",
        "oracle://me:hunter2@127.0.0.1/db",
        "hunter2@127.0.0.1:5432/db",
        "hunter2",
    ] {
        for arguments in [
            &["check"][..],
            &["check", "--json"],
            &["--help"],
            &["chekc"],
        ] {
            let run = idem(url, arguments).await;
            let said = format!("{}{}", run.raw(), run.err);
            assert!(
                !said.contains("hunter2") || url.contains("=hunter2"),
                "{url}: {said}"
            );
            assert!(!said.contains("me:hunter2"), "{url}: {said}");
        }
        let option = idem("", &["check", "--database-url", url]).await;
        assert!(!option.err.contains("hunter2"), "{url}: {}", option.err);
        assert!(matches!(option.code, 2 | 3), "{url}: {}", option.err);
    }
}

#[tokio::test]
async fn a_server_without_tls_is_refused_if_the_url_asks_for_it() {
    let database = <Postgres>::create().await;
    let url = database.url();
    let asking = url.replace("sslmode=disable", "sslmode=require");
    assert_ne!(asking, url);
    let run = idem(&asking, &["check"]).await.exits(3);
    assert!(run.err.contains("does not support TLS"), "{}", run.err);
    database.remove().await;
}

#[tokio::test]
async fn a_database_that_is_not_there_has_its_exit_code() {
    for url in [
        "postgres://me:hunter2@127.0.0.1:1/db",
        "mysql://me:hunter2@127.0.0.1:1/db",
        "sqlite:/nowhere/at/all.sqlite",
        "redis://me:hunter2@127.0.0.1:1/",
    ] {
        let run = idem(url, &["stats"]).await.exits(3);
        assert_eq!(run.raw(), "");
        let json = idem(url, &["stats", "--json"]).await.exits(3).json();
        assert_eq!(json["error"]["kind"], "unavailable");
    }
}

#[tokio::test]
async fn wrong_usage_has_its_exit_code_and_a_reason() {
    let here = "sqlite:/nowhere/at/all.sqlite";
    for (url, arguments, says) in [
        ("", &["check"][..], "which database?"),
        ("oracle:db", &["check"], "has to begin with `postgres:`"),
        (
            here,
            &["check", "--namespace", ""],
            "the namespace is empty",
        ),
        (here, &["check", "--schema", "a"], "use `--table-prefix`"),
        (
            here,
            &["check", "--key-prefix", "a"],
            "has no `--key-prefix`",
        ),
        (here, &["check", "--replicas", "1"], "has no `--replicas`"),
        (
            "redis://127.0.0.1:1/",
            &["check", "--table-prefix", "a"],
            "use `--key-prefix`",
        ),
        (
            "redis://127.0.0.1:1/database",
            &["check"],
            "the URL of the database",
        ),
        (here, &["find", "--key", "k"], "--unscoped"),
        (
            here,
            &["find", "--key", "k", "--scope", "a", "--unscoped"],
            "cannot be used",
        ),
        (
            here,
            &["erase", "--scope", "a", "--yes", "--dry-run"],
            "cannot be used",
        ),
        (here, &["stats", "--json", "extra"], "unexpected argument"),
    ] {
        let run = idem(url, arguments).await.exits(2);
        assert!(run.err.contains(says), "{arguments:?}: {}", run.err);
    }
}

#[tokio::test]
async fn a_file_without_tables_is_migrated() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("app.sqlite");
    let (url, new) = (
        format!("sqlite:{}", file.display()),
        format!("sqlite:{}?mode=rwc", file.display()),
    );
    idem(&url, &["check"]).await.exits(3);
    let missing = idem(&new, &["check"]).await.exits(5);
    assert!(missing.err.contains("migrate"), "{}", missing.err);
    idem(&url, &["migrate"]).await.exits(0);
    let checked = idem(&url, &["check"]).await.exits(0);
    assert_eq!(
        checked.raw(),
        "no fault found: the tables fit this release, and this role can use them\n"
    );
    let json = idem_with("DATABASE_URL", &url, &["check", "--json"]).await;
    let json = json.exits(0).json();
    assert_eq!(json["result"]["database"], "sqlite");
    for (arguments, says) in [
        (&[&K1[..6], &["a b"]].concat()[..], "not an idempotency key"),
        (&["stats", "--scope", ""], "the scope is empty"),
    ] {
        let run = idem(&url, arguments).await.exits(2);
        assert!(run.err.contains(says), "{}", run.err);
    }
}

#[tokio::test]
async fn help_has_the_exit_codes_and_shells_have_completions() {
    let help = idem("", &["--help"]).await.exits(0);
    assert!(
        help.raw().contains("Exit codes:\n  0  done\n"),
        "{}",
        help.raw()
    );
    for shell in ["bash", "zsh", "fish"] {
        let script = idem("", &["completions", shell]).await.exits(0);
        assert!(script.raw().contains("table-prefix"), "{shell}");
    }
}
