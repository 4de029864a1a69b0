//! A server in a container.

use std::ffi::OsStr;
use std::process::{self as std_process, Command};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::watchdog::Watchdog;
use super::{Image, Kind, READY_WITHIN, port};
use crate::interrupt;
use crate::process::{self, Wait};

const PAUSE: Duration = Duration::from_millis(100);
const ANSWERS_WITHIN: Duration = Duration::from_secs(15);
const PULLED_WITHIN: Duration = Duration::from_mins(10);

/// The kind's image. Fails if it has none, or if Docker is missing or does not work.
pub(super) fn image(kind: &dyn Kind) -> Result<Image> {
    let image = kind.image().with_context(|| {
        format!(
            "{} in a container cannot reach the services of the tests",
            kind.name()
        )
    })?;
    docker(&["info"], ANSWERS_WITHIN).context("Docker does not work here")?;
    Ok(image)
}

#[derive(Debug)]
pub(super) struct Container {
    kind: &'static dyn Kind,
    image: Image,
    name: String,
    port: u16,
    // Dropping the watchdog dismisses it. Fields are dropped after `drop`, which removes the container.
    _watchdog: Watchdog,
}

impl Container {
    /// The container is not started with `--rm`: it keeps its data and its port when it is killed.
    pub(super) fn start(kind: &'static dyn Kind, image: Image) -> Result<Self> {
        let port = port::free()?;
        let name = format!("idem-{}-{}-{port}", kind.key(), std_process::id());
        let watchdog = Watchdog::start("docker rm --force --volumes \"$1\"", &[OsStr::new(&name)])?;
        let container = Self {
            kind,
            image,
            name,
            port,
            _watchdog: watchdog,
        };
        let published = format!("127.0.0.1:{port}:{}", image.port);
        let mut arguments = vec![
            "run",
            "--detach",
            "--name",
            &container.name,
            "--publish",
            &published,
        ];
        arguments.extend(
            image
                .environment
                .iter()
                .flat_map(|variable| ["--env", variable]),
        );
        arguments.push(image.name);
        arguments.extend(image.arguments);
        docker(&arguments, PULLED_WITHIN)?;
        container.wait_until_ready()?;
        Ok(container)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// The image, the port and the container, for messages.
    pub(super) fn description(&self) -> String {
        format!(
            "the image {} on port {} in the container {}",
            self.image.name, self.port, self.name
        )
    }

    pub(super) fn is_running(&self) -> bool {
        let state = docker(
            &["inspect", "--format", "{{.State.Running}}", &self.name],
            ANSWERS_WITHIN,
        );
        state.is_ok_and(|state| state.trim() == "true")
    }

    pub(super) fn log(&self) -> String {
        // Servers log to standard error, and `docker logs` writes that to its own standard error.
        let output = Command::new("docker")
            .args(["logs", "--tail", "20", &self.name])
            .output();
        output.map_or_else(
            |error| error.to_string(),
            |output| process::tail(&String::from_utf8_lossy(&output.stderr)),
        )
    }

    pub(super) fn kill(&self) -> Result<()> {
        docker(&["kill", &self.name], ANSWERS_WITHIN)?;
        Ok(())
    }

    pub(super) fn restart(&self) -> Result<()> {
        docker(&["restart", &self.name], READY_WITHIN)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        while !self.kind.is_ready(self.port) {
            interrupt::check()?;
            let what = match (self.is_running(), Instant::now() > deadline) {
                (true, false) => {
                    thread::sleep(PAUSE);
                    continue;
                }
                (true, true) => "let no client in",
                (false, _) => "ended",
            };
            bail!(
                "{} {what}; the end of its log:\n{}",
                self.description(),
                self.log()
            );
        }
        Ok(())
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // Not through the function `docker`, which fails at once after an interrupt.
        let removal = Command::new("docker")
            .args(["rm", "--force", "--volumes", &self.name])
            .output();
        if !removal.is_ok_and(|output| output.status.success()) {
            eprintln!(
                "xtask: cannot remove the container {}; remove it by hand",
                self.name
            );
        }
    }
}

fn docker(arguments: &[&str], limit: Duration) -> Result<String> {
    let what = format!("docker {}", arguments[0]);
    process::capture(
        &what,
        Command::new("docker").args(arguments),
        Wait::AtMost(limit),
    )
}
