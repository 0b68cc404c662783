#!/bin/sh
# Makes the virtual environment $1 with the first Python that is new enough; says in one line what is missing.
set -eu
here=$(dirname "$0")

for python in python3 python3.14 python3.13 python3.12 python3.11; do
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
    # Debian ships venv without pip until python3-venv is there.
    "$python" -c 'import ensurepip' 2>/dev/null || "$here/debian.sh" python3-venv
    "$python" -m venv "$1"
    exit
done
echo "marketdata-exporter needs Python 3.11 or newer: install one so that 'python3' or 'python3.11' finds it" >&2
exit 1
