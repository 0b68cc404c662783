#!/bin/sh
# Brings the real parts that tests start: Redis, Prometheus and its Pushgateway, Alertmanager's amtool, Chromium, openssl and systemd-analyze from Debian, Apache Kafka's jars through Maven, and
# collectors and engines of computation from PyPI, into places of their own.
# Does nothing when all are there. What cannot be had is named in one line, and the tests that need it say so themselves.
set -eu
cd "$(dirname "$0")"
libs=../../.cache/kafka-4.3.0/libs
node=$(realpath -m ../../.cache/node)

missing=
need() {  # COMMAND PACKAGE
    command -v "$1" >/dev/null || missing="$missing $2"
}
need redis-server redis-server
need promtool prometheus
need amtool prometheus-alertmanager
need prometheus-pushgateway prometheus-pushgateway
need chromium chromium
need java default-jre-headless
need openssl openssl
need systemd-analyze systemd
[ -d "$libs" ] || need mvn maven

# shellcheck disable=SC2086  # a list of words
[ -z "$missing" ] || ./debian.sh $missing || true
[ -d "$libs" ] || { mkdir -p "$(dirname "$libs")" && ./kafka.sh "$(realpath -m "$libs")"; } || true
cmp -s node/package-lock.json "$node/package-lock.json" || ./node.sh "$node" || true
./collectors.sh "$(realpath -m ../../.cache/collectors)" || true
./beside.sh compute "Numba and ONNX Runtime" || true
./beside.sh measures Empyrical || true
