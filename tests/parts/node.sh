#!/bin/sh
# Brings what tests take from npm to the folder $1, each file compared with its hash. Does nothing without npm: the tests say what they miss.
set -eu
cd "$(dirname "$0")/node"
command -v npm >/dev/null || exit 0
mkdir -p "$1"
cp package.json package-lock.json "$1"
# Without the lock file the next call tries again.
npm ci --prefix "$1" --ignore-scripts --no-audit --no-fund --loglevel=error || { rm "$1/package-lock.json" && exit 1; }
