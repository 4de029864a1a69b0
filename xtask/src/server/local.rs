//! A server from programs on this machine, as a child process.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::folder::Folder;
use super::watchdog::Watchdog;
use super::{Kind, Programs, READY_WITHIN, port};
use crate::interrupt;
use crate::process::{self, Wait};

const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(20);
const ENDS_WITHIN: Duration = Duration::from_secs(10);

/// Ends `$target`, a signal followed by a process or a group, and removes the folder `$1`.
const CLEAN_UP: &str = r#"
signal=${target%% *} process=${target##* }
if [ -n "$process" ]; then
    kill -s "$signal" -- "$process"
    for _ in 1 2 3 4 5 6 7 8 9 10; do kill -s 0 -- "$process" || break; sleep 0.5; done
    kill -s KILL -- "$process"
fi
rm -rf -- "$1" || { sleep 2; rm -rf -- "$1"; }
"#;

#[derive(Debug)]
pub(super) struct Local {
    kind: &'static dyn Kind,
    programs: Programs,
    port: u16,
    child: Option<Child>,
    watchdog: Watchdog,
    pub(super) extras: Extras,
    // The last field is dropped last: the folder outlives everything that uses it.
    folder: Folder,
}

/// What a server gets in addition to the arguments and the environment of its kind.
#[derive(Debug, Default)]
pub(super) struct Extras {
    /// A program that runs the server, and its arguments.
    pub(super) under: Vec<String>,
    pub(super) arguments: Vec<String>,
    /// The PATH in which it looks for other programs, if it is not this process's own.
    pub(super) path: Option<OsString>,
}

impl Local {
    /// A server in a folder for temporary files, or in this folder.
    pub(super) fn start(
        kind: &'static dyn Kind,
        programs: Programs,
        within: Option<&Path>,
    ) -> Result<Self> {
        let mut local = Self::create_within(kind, programs, within)?;
        local.initialise()?;
        local.launch_on_a_free_port()?;
        Ok(local)
    }

    /// A server that gets more than its kind gives.
    pub(super) fn start_with(
        kind: &'static dyn Kind,
        programs: Programs,
        extras: Extras,
    ) -> Result<Self> {
        let mut local = Self::create(kind, programs)?;
        local.initialise()?;
        local.extras = extras;
        local.launch_on_a_free_port()?;
        Ok(local)
    }

    /// A standby of this server, which it reaches through the port.
    pub(super) fn start_standby(&self, port: u16) -> Result<Self> {
        let mut local = Self::create(self.kind, self.programs.clone())?;
        let (name, folder) = (self.kind.name(), local.folder.path());
        let copy = self.kind.copy(&self.programs, folder, port);
        let copy = copy.with_context(|| format!("there is no standby of {name}"))?;
        local.run(&format!("copying the data of {name}"), copy)?;
        local.launch_on_a_free_port()?;
        Ok(local)
    }

    /// A server that has no data yet and does not run.
    pub(super) fn create(kind: &'static dyn Kind, programs: Programs) -> Result<Self> {
        Self::create_within(kind, programs, None)
    }

    fn create_within(
        kind: &'static dyn Kind,
        programs: Programs,
        within: Option<&Path>,
    ) -> Result<Self> {
        let folder = Folder::create(kind, within)?;
        let watchdog = Watchdog::start(CLEAN_UP, &[folder.path().as_os_str()])?;
        Ok(Self {
            kind,
            programs,
            port: 0,
            child: None,
            watchdog,
            extras: Extras::default(),
            folder,
        })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        self.kind.url(self.port)
    }

    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The program, the port, the folder and the user, for messages.
    pub(super) fn description(&self) -> String {
        let (program, folder) = (
            self.programs.server().display(),
            self.folder.path().display(),
        );
        format!(
            "{program} on port {} in {folder} as {}",
            self.port,
            self.folder.user()
        )
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    pub(super) fn log(&self) -> String {
        let bytes = fs::read(self.folder.path().join("log")).unwrap_or_default();
        process::tail(&String::from_utf8_lossy(&bytes))
    }

    pub(super) fn kill(&mut self) -> Result<()> {
        let mut child = self
            .child
            .take()
            .with_context(|| format!("{} does not run", self.kind.name()))?;
        process::kill_family(&mut child)
            .with_context(|| format!("cannot kill {}", self.kind.name()))?;
        self.watchdog.guard("");
        Ok(())
    }

    /// Ends the server at once, with its data as after a crash.
    pub(super) fn stop_immediately(&mut self) {
        self.end(self.kind.signals().immediate);
    }

    pub(super) fn restart(&mut self) -> Result<()> {
        self.stop();
        self.relaunch()
    }

    /// Ends the server in good order, if it runs.
    pub(super) fn stop(&mut self) {
        self.end(self.kind.signals().orderly);
    }

    /// Starts the server, which must not run, on the port that it had.
    pub(super) fn relaunch(&mut self) -> Result<()> {
        let deadline = Instant::now() + READY_WITHIN;
        // The other processes of a killed server hold its shared memory until they have ended, too.
        while let Err(status) = self.launch()? {
            if Instant::now() > deadline {
                return self.fail(&format!("ended with {status} instead of restarting"));
            }
            thread::sleep(10 * PAUSE);
        }
        Ok(())
    }

    pub(super) fn initialise(&mut self) -> Result<()> {
        let Some(command) = self.kind.initialise(&self.programs, self.folder.path()) else {
            return Ok(());
        };
        let what = format!("creating data for {}", self.kind.name());
        self.run(&what, command)
    }

    /// Runs another program to its end, in the folder and as the user of the server.
    pub(super) fn run(&mut self, what: &str, mut command: Command) -> Result<()> {
        self.prepare(&mut command);
        let what = format!("{what} as {}", self.folder.user());
        let (wait, watchdog) = (Wait::AtMost(READY_WITHIN), &mut self.watchdog);
        process::capture_announced(&what, &mut command, wait, |process| {
            // The group, because a script may have children.
            watchdog.guard(&format!("TERM -{process}"));
        })?;
        self.watchdog.guard("");
        Ok(())
    }

    pub(super) fn launch_on_a_free_port(&mut self) -> Result<()> {
        for attempt in 1.. {
            self.port = port::free()?;
            match self.launch()? {
                Ok(()) => break,
                Err(status) if attempt == ATTEMPTS => {
                    return self.fail(&format!("ended with {status}"));
                }
                // Another process may have taken the port in the meantime.
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Starts the server and waits until it is ready. The inner error is the status of a server that ended instead.
    fn launch(&mut self) -> Result<Result<(), ExitStatus>> {
        interrupt::check()?;
        let mut command = self.server();
        self.prepare(&mut command);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"))?;
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // A process group of its own: the terminal's Ctrl-C must not end the server before the tests.
        let child = command.process_group(0).spawn();
        let child =
            child.with_context(|| format!("cannot run {}", self.programs.server().display()))?;
        self.watchdog
            .guard(&format!("{} {}", self.kind.signals().immediate, child.id()));
        self.child = Some(child);
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> Result<Result<(), ExitStatus>> {
        let deadline = Instant::now() + READY_WITHIN;
        while let Some(child) = &mut self.child {
            interrupt::check()?;
            if let Some(status) = child.try_wait()? {
                self.child = None;
                self.watchdog.guard("");
                return Ok(Err(status));
            }
            if self.kind.is_ready(self.port) {
                break;
            }
            if Instant::now() > deadline {
                self.fail(&format!(
                    "let no client in within {} s",
                    READY_WITHIN.as_secs()
                ))?;
            }
            thread::sleep(PAUSE);
        }
        Ok(Ok(()))
    }

    /// The command that runs the server.
    pub(super) fn server(&self) -> Command {
        let folder = self.folder.path();
        let mut command = self.kind.start(&self.programs, folder, self.port);
        command.args(&self.extras.arguments);
        if let [program, arguments @ ..] = &*self.extras.under {
            let server = command;
            command = Command::new(program);
            command.args(arguments).arg(server.get_program());
            command.args(server.get_args());
        }
        if let Some(path) = &self.extras.path {
            command.env("PATH", path);
        }
        command
    }

    fn prepare(&self, command: &mut Command) {
        let prefixes = self.kind.environment_prefixes();
        let own: Vec<OsString> = command
            .get_envs()
            .map(|(name, _)| name.to_owned())
            .collect();
        for (name, _) in env::vars_os() {
            let text = name.to_string_lossy();
            if !own.contains(&name) && prefixes.iter().any(|prefix| text.starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        self.folder.adopt(command);
    }

    fn fail(&self, what: &str) -> Result<()> {
        bail!(
            "{} {what}; the end of its log:\n{}",
            self.description(),
            self.log()
        )
    }

    fn end(&mut self, signal: &str) {
        if let Some(mut child) = self.child.take() {
            process::signal(&child, signal);
            if !process::ended_within(&mut child, ENDS_WITHIN) {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
        self.watchdog.guard("");
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        self.stop_immediately();
    }
}
