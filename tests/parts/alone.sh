#!/bin/sh
# Does what the README says in a clone of HEAD that has nothing beside it: the demo, for a moment, and the tests that play captured traffic, after
# all tests were collected. What is installed here is copied, so that only the clone itself is new.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
trap 'exit 1' INT TERM

git clone --quiet "$root" "$place/clone"
cd "$place/clone"
mkdir .cache
[ ! -d "$root/.venv" ] || cp -a "$root/.venv" .
for part in "$root"/.cache/kafka-* "$root"/.cache/node "$root"/.cache/collectors "$root"/.cache/site-packages; do
    [ ! -d "$part" ] || ln -s "$part" .cache/
done
make demo ARGS='--seconds 5 --web.listen-address 127.0.0.1:0'
make test ARGS='-m captures'
