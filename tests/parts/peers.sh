#!/bin/sh
# Brings the programs of others that `make bench ARGS=peers` compares into .cache/peers: quixstreams and faust-streaming from PyPI, and Telegraf,
# which Go compiles from its module, with the parts that are needed. Does nothing when they are there. What cannot be had is named in one line.
set -u
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
pins=$root/.constraints/peers.txt
place=$root/.cache/peers
telegraf=v1.37.2
parts=inputs.kafka_consumer,parsers.value,processors.starlark,aggregators.histogram,outputs.kafka,outputs.prometheus_client,serializers.json

libraries() {
    rm -rf "$place/python.part"
    "$here/venv.sh" "$place/python.part" && "$place/python.part/bin/python" -m pip install --quiet --disable-pip-version-check \
        --no-deps --require-hashes -r "$pins" && cp "$pins" "$place/python.part/pins.txt" &&
        rm -rf "$place/python" && mv "$place/python.part" "$place/python"
}
# Its version pins those of all modules; Go compares their hashes with the public log of these.
compiled() {
    command -v go >/dev/null || { echo "go, a compiler, was not found" && return 1; }
    GOBIN=$place/bin go install -trimpath -ldflags '-s -w' -tags "custom,$parts" "github.com/influxdata/telegraf/cmd/telegraf@$telegraf"
}

mkdir -p "$place"
cmp -s "$pins" "$place/python/pins.txt" || {
    echo "Installing quixstreams and faust-streaming, which the benchmark compares"
    libraries >"$place/python.log" 2>&1 || { echo "they cannot be installed: $(tail -n 1 "$place/python.log")" >&2; }
}
[ -x "$place/bin/telegraf" ] || {
    echo "Compiling Telegraf, which the benchmark compares, in about 5 minutes"
    compiled >"$place/telegraf.log" 2>&1 || echo "it cannot be compiled: $(tail -n 1 "$place/telegraf.log")" >&2
}
exit 0
