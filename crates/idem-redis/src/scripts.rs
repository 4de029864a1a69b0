//! The scripts that run on the server, each on the key of one identity.

use std::sync::LazyLock;

use redis::Cmd;

/// A script, and the digest that the server knows it by.
pub(crate) struct Script {
    text: &'static str,
    script: redis::Script,
}

macro_rules! scripts {
    ($($name:ident $file:literal)*) => {$(
        pub(crate) static $name: LazyLock<Script> = LazyLock::new(|| {
            Script::new(concat!(include_str!("scripts/common.lua"), include_str!($file)))
        });
    )*};
}

scripts! {
    CLAIM "scripts/claim.lua"
    RENEW "scripts/renew.lua"
    RECORD "scripts/record.lua"
    COMPLETE "scripts/complete.lua"
    FINISH "scripts/finish.lua"
    RELEASE "scripts/release.lua"
    READ "scripts/read.lua"
    SUMMARY "scripts/summary.lua"
    FORGET "scripts/forget.lua"
    RESOLVE "scripts/resolve.lua"
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self {
            text,
            script: redis::Script::new(text),
        }
    }

    /// The command for a server that knows the script.
    pub(crate) fn by_digest(&self, key: &str, arguments: &[Vec<u8>]) -> Cmd {
        command("EVALSHA", self.script.get_hash(), key, arguments)
    }

    /// The command for a server that doesn't: from then on it knows the script.
    pub(crate) fn by_text(&self, key: &str, arguments: &[Vec<u8>]) -> Cmd {
        command("EVAL", self.text, key, arguments)
    }
}

fn command(name: &str, script: &str, key: &str, arguments: &[Vec<u8>]) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(script).arg(1).arg(key).arg(arguments);
    command
}
