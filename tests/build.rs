//! Tells the tests whether this compiler wrote the errors in `tests/ui/rustc`.

use std::env;
use std::process::Command;

/// The version of the compiler that wrote `tests/ui/rustc/*.stderr`.
const PINNED: &str = "1.95";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(pinned)");
    if version().is_some_and(|version| is_pinned(&version)) {
        println!("cargo::rustc-cfg=pinned");
    }
}

/// The compiler's version line, such as `rustc 1.95.0 (59807616e 2026-04-14)`.
fn version() -> Option<String> {
    let output = Command::new(env::var_os("RUSTC")?)
        .arg("--version")
        .output()
        .ok()?;
    String::from_utf8(output.stdout).ok()
}

/// Whether this is a stable release with the pinned minor version. Nightlies and betas word their
/// errors differently.
fn is_pinned(version: &str) -> bool {
    version
        .split_whitespace()
        .nth(1)
        .and_then(|release| release.rsplit_once('.'))
        .is_some_and(|(minor, patch)| minor == PINNED && patch.parse::<u32>().is_ok())
}
