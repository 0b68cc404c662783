#!/bin/sh
# Installs the engines of .constraints/compute.in into the folder $1, with the Python of .venv, which sees them by PYTHONPATH.
# Does nothing when they are there, with the same pins.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
pins=$here/../../.constraints/compute.txt
place=$1
! cmp -s "$pins" "$place/pins.txt" || exit 0

# Into a folder beside it first: an interrupted installation must not look like a complete one.
rm -rf "$place.part"
echo "Installing Numba and ONNX Runtime, whose results tests compare"
"$here/../../.venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary :all: \
    --target "$place.part" -r "$pins" >"$place.log" 2>&1 || {
    tail -n 5 "$place.log" >&2
    echo "Numba and ONNX Runtime cannot be installed; tests that compare their results cannot run" >&2
    exit 1
}
cp "$pins" "$place.part/pins.txt"
rm -rf "$place"
mv "$place.part" "$place"
