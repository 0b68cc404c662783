#!/bin/sh
# Installs the packages of .constraints/$1.in, which are $2 in words, into .cache/site-packages/$1, with the Python of
# .venv, which sees them by its path while a test needs them. Does nothing when they are there, with the same pins.
# By the name of the folder hypothesis knows that they are not the code to test, whose constants it tries.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
pins=$root/.constraints/$1.txt
mkdir -p "$root/.cache/site-packages"
place=$(realpath -m "$root/.cache/site-packages/$1")
! cmp -s "$pins" "$place/pins.txt" || exit 0

# Into a folder beside it first: an interrupted installation must not look like a complete one.
rm -rf "$place.part"
echo "Installing $2, whose results tests compare"
"$root/.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
    --target "$place.part" -r "$pins" >"$place.log" 2>&1 || {
    tail -n 5 "$place.log" >&2
    echo "$2 cannot be installed; tests that compare their results cannot run" >&2
    exit 1
}
cp "$pins" "$place.part/pins.txt"
rm -rf "$place"
mv "$place.part" "$place"
