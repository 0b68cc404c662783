#!/bin/sh
# Makes the environment $1 with the collectors of .constraints/collectors.in, whose records tests read. Parts of them are compiled.
# Does nothing when it is there, with the same pins.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
pins=$here/../../.constraints
place=$1
! cmp -s "$pins/collectors.txt" "$place/pins.txt" || exit 0

# Into a folder beside it first: an interrupted installation must not look like a complete one.
rm -rf "$place.part"
"$here/venv.sh" "$place.part"
python=$place.part/bin/python
headers=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')

missing=
command -v g++ >/dev/null || missing="g++"
[ -e "$headers/Python.h" ] || missing="$missing python3-dev"
# shellcheck disable=SC2086  # a list of words
[ -z "$missing" ] || "$here/debian.sh" $missing

install() {
    "$python" -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes "$@"
}
echo "Installing cryptofeed and ccxt, whose records tests read"
{ install -r "$pins/collectors-build.txt" && install --no-build-isolation -r "$pins/collectors.txt"; } >"$place.log" 2>&1 || {
    tail -n 5 "$place.log" >&2
    echo "cryptofeed and ccxt cannot be installed; tests that read their records cannot run" >&2
    exit 1
}
cp "$pins/collectors.txt" "$place.part/pins.txt"
rm -rf "$place"
mv "$place.part" "$place"
