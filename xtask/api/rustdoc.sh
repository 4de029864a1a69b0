#!/bin/sh
# Only rustdoc sees the variable: build scripts that saw it would build their crates again.
RUSTC_BOOTSTRAP=1 exec rustdoc "$@"
