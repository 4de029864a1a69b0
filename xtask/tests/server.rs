//! Starts, kills, restarts and ends real servers.

#![cfg(unix)]

use std::env;
use std::process::Command;

use xtask::server::{KINDS, Kind, Server};

#[test]
fn a_killed_server_can_be_restarted_and_a_drop_ends_it() {
    for kind in provided_kinds() {
        let mut server = Server::start(kind).unwrap();
        let port = port(&server).unwrap();
        let first = server.pid();
        assert!(kind.is_ready(port));

        server.kill().unwrap();
        assert!(!kind.is_ready(port) && !server.is_running() && server.pid().is_none());
        assert!(server.kill().is_err());

        server.restart().unwrap();
        assert!(kind.is_ready(port) && server.is_running());
        assert!(first.is_none() || server.pid() != first);

        server.restart().unwrap();
        assert!(kind.is_ready(port));

        drop(server);
        assert!(!kind.is_ready(port));
    }
}

#[test]
fn two_servers_are_independent() {
    for kind in provided_kinds() {
        let one = Server::start(kind).unwrap();
        let two = Server::start(kind).unwrap();
        assert_ne!(one.url(), two.url());
        let (first, second) = (port(&one).unwrap(), port(&two).unwrap());
        drop(one);
        assert!(!kind.is_ready(first) && kind.is_ready(second));
    }
}

#[test]
fn a_server_that_was_there_before_is_left_alone() {
    for kind in provided_kinds() {
        let mut server = Server::find_or_start(kind).unwrap();
        assert_eq!(server.url(), env::var(kind.variable()).unwrap());
        let message = server.kill().unwrap_err().to_string();
        assert!(message.contains(kind.variable()), "{message}");
        assert!(server.restart().is_err());
    }
}

const STOP_FOR_GOOD: &str = "XTASK_TEST_ABORT";

/// This test runs itself again for each kind, in a process that aborts and so drops nothing.
#[test]
fn a_server_ends_after_its_owner_has_aborted() {
    for kind in provided_kinds() {
        let chosen = env::var(STOP_FOR_GOOD);
        if chosen.as_ref().is_ok_and(|key| key != kind.key()) {
            continue;
        }
        if chosen.is_ok() {
            let server = Server::start(kind).unwrap();
            println!("port={}", port(&server).unwrap());
            std::process::abort();
        }
        let mut owner = Command::new(env::current_exe().unwrap());
        owner
            .args(["a_server_ends_after_its_owner", "--nocapture"])
            .env(STOP_FOR_GOOD, kind.key());
        let output = owner.output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, rest) = text.split_once("port=").unwrap();
        let port = rest.lines().next().unwrap().parse().unwrap();
        let gone = (0..100).any(|_| {
            std::thread::sleep(std::time::Duration::from_millis(100));
            !kind.is_ready(port)
        });
        assert!(gone && !output.status.success());
    }
}

/// All kinds. A plain `cargo test` fails here, so that it does not start or install a server.
fn provided_kinds() -> impl Iterator<Item = &'static dyn Kind> {
    KINDS.iter().copied().inspect(|kind| {
        let variable = kind.variable();
        assert!(
            env::var(variable).is_ok_and(|url| !url.is_empty()),
            "set {variable} or run `cargo xtask test`"
        );
    })
}

fn port(server: &Server) -> Option<u16> {
    let (_, port) = server.url().rsplit_once(':')?;
    port.split('/').next()?.parse().ok()
}
