#!/bin/sh
# Writes the pinned requirements with the hashes of all their files, from pyproject.toml: `make constraints`.
# Without arguments pins that are there stay; `--upgrade` or `--upgrade-package NAME` moves them. No address of an index is written.
set -eu
cd "$(dirname "$0")/.."
compile=$PWD/.cache/tools/bin/pip-compile
options="--quiet --generate-hashes --allow-unsafe --strip-extras --no-annotate --no-header
    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links"

# shellcheck disable=SC2086  # a list of words
requirements() {  # FILE ARGUMENT...
    file=.constraints/$1
    shift
    echo "writing $file"
    "$compile" $options --output-file "$file" "$@"
}
requirements test.txt --extra test "$@" pyproject.toml
requirements runtime.txt --extra bcrypt --constraint .constraints/test.txt pyproject.toml
requirements risk.txt --constraint .constraints/test.txt .constraints/risk.in
requirements build.txt --only-build-deps --build-deps-for wheel --build-deps-for editable --constraint .constraints/test.txt "$@" pyproject.toml
requirements compute.txt --constraint .constraints/test.txt "$@" .constraints/compute.in
# Empyrical asks for an old peewee of which there is no wheel, and does not import it.
requirements measures.txt --constraint .constraints/test.txt --no-allow-unsafe --unsafe-package peewee "$@" .constraints/measures.in
requirements peers.txt "$@" .constraints/peers.in
requirements tools.txt "$@" .constraints/tools.in
requirements collectors-build.txt "$@" .constraints/collectors-build.in
# One variable for each generation of pip.
export PIP_CONSTRAINT=.constraints/collectors-build.in PIP_BUILD_CONSTRAINT=.constraints/collectors-build.in
requirements collectors.txt "$@" .constraints/collectors.in
