//! The development tasks of the workspace; see `cargo xtask help`.

#[cfg(unix)]
mod commands;

#[cfg(unix)]
fn main() -> std::process::ExitCode {
    commands::main()
}

#[cfg(not(unix))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "xtask: error: the tasks start and end servers with Unix signals, which this system does not have; \
         use Linux, macOS or WSL, or run `cargo test` with IDEM_TEST_POSTGRES_URL, IDEM_TEST_MYSQL_URL, IDEM_TEST_REDIS_URL, IDEM_TEST_NATS_URL, IDEM_TEST_RABBITMQ_URL, IDEM_TEST_WEBDRIVER_URL, IDEM_TEST_PGBOUNCER and IDEM_TEST_PYTHON set yourself"
    );
    std::process::ExitCode::FAILURE
}
