#!/bin/sh
# Fetches the jars of Apache Kafka into the folder $1, in the version that the pom $2 names (kafka.xml beside this file unless given).
set -eu
pom=${2:-$(dirname "$0")/kafka.xml}
libs=$1

# Into a folder beside it first: an interrupted download must not look like a complete one.
rm -rf "$libs.part"
said=$(mvn --quiet --batch-mode --file "$pom" dependency:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$libs.part" 2>&1) || {
    printf '%s\n' "$said" >&2
    echo "Maven could not fetch Apache Kafka; tests that need a broker cannot run" >&2
    exit 1
}
mv "$libs.part" "$libs"
