#!/bin/sh
# Writes the bill of materials (CycloneDX) of an environment that holds just what is shipped, to the file $1.
set -eu
cd "$(dirname "$0")/.."
environment=.cache/shipped
rm -rf "$environment"
tests/parts/venv.sh "$environment"
pip="$environment/bin/python -m pip --disable-pip-version-check"
$pip install --quiet --no-deps --require-hashes -r .constraints/runtime.txt
mkdir -p .cache/wheels "$(dirname "$1")"
$pip wheel --quiet --no-deps --wheel-dir .cache/wheels .
$pip install --quiet --no-deps --no-index --find-links .cache/wheels marketdata-exporter
# The shipped environment has no pip.
$pip uninstall --quiet --yes pip setuptools
.cache/tools/bin/cyclonedx-py environment --output-reproducible --output-format JSON --output-file "$1" "$environment"
echo "$1"
