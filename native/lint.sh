#!/bin/sh
# Checks format and lints of the native core. Without Rust it says so, and fails where CI is set.
set -eu
cd "$(dirname "$0")"
if ! command -v cargo >/dev/null; then
    echo "native core not checked: cargo, which comes with Rust, was not found" >&2
    exit ${CI:+1}
fi
export CARGO_TARGET_DIR=../.cache/native-test
cargo fmt --check
cargo clippy --quiet --all-targets -- -D warnings
