//! The programs of Python and Node, with their packages.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::OnceLock;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

/// The folder of the lists of packages, and of the programs that call SDKs.
pub(crate) const SDKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/sdks");

struct Programs {
    /// The folder of `python`, `node`, and others.
    folder: PathBuf,
    /// The packages of Node.
    modules: PathBuf,
}

fn programs() -> &'static Programs {
    static PROGRAMS: OnceLock<Programs> = OnceLock::new();
    PROGRAMS.get_or_init(|| {
        let parent = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let requirements = Path::new(SDKS).join("requirements.txt");
        let made = xtask::python::environment(&requirements, parent).and_then(|folder| {
            let modules = xtask::node::modules(&folder, Path::new(SDKS), parent)?;
            Ok(Programs { folder, modules })
        });
        made.unwrap_or_else(|error| panic!("{error:#}"))
    })
}

/// A program of the environment, such as `python`.
pub(crate) fn program(name: &str) -> Command {
    let mut command = Command::new(programs().folder.join(name));
    command
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("NODE_PATH", &programs().modules)
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// The compiler of TypeScript.
pub(crate) fn tsc() -> Command {
    let mut node = program("node");
    let types = programs().modules.join("@types");
    node.arg(programs().modules.join("typescript/bin/tsc"))
        .arg("--typeRoots")
        .arg(types);
    node
}

/// Runs a command with this input to its end, and returns what it printed.
pub(crate) async fn fed(mut command: Command, input: &str) -> String {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("a program");
    let mut stdin = child.stdin.take().expect("a piped input");
    stdin.write_all(input.as_bytes()).await.expect("it reads");
    drop(stdin);
    let output = child.wait_with_output().await.expect("it ends");
    assert!(output.status.success(), "{output:?}");
    printed(&output)
}

pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
