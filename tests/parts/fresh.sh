#!/bin/sh
# Does what the README says on a machine without anything: `make demo` and `make test` in a clone of HEAD, in the root of a bare Debian with python3
# and make. Prints how long each took. Wants root, and takes as long as both and their downloads; the root is deleted afterwards.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
suite=${1:-trixie}

# In a mount and process namespace of its own, so that nothing of it is left however it ends.
if [ -z "${FRESH_ROOT:-}" ]; then
    command -v mmdebstrap >/dev/null || "$here/debian.sh" mmdebstrap
    FRESH_ROOT=$(mktemp -d)
    export FRESH_ROOT
    trap 'rm -rf "$FRESH_ROOT"' EXIT
    trap 'exit 1' INT TERM
    unshare --mount --pid --fork --kill-child "$0" "$suite"
    exit
fi

root=$FRESH_ROOT/root
mmdebstrap --quiet --variant=minbase --include=python3,make "$suite" "$root"
git clone --quiet "$here/../.." "$root/marketdata/exporter"
mount --make-rprivate /
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
cp /etc/resolv.conf "$root/etc/"

# What this machine trusts goes along, and nothing else: the environment is empty.
mkdir "$root/trusted"
mount --bind /etc/ssl/certs "$root/trusted"
authorities=/trusted/ca-certificates.crt
inside() {
    chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 \
        PIP_CERT=$authorities SSL_CERT_FILE=$authorities REQUESTS_CA_BUNDLE=$authorities \
        MAVEN_OPTS=-Djavax.net.ssl.trustStore=/trusted/java/cacerts "$@"
}
timed() {  # COMMAND...
    began=$(date +%s)
    inside sh -c 'cd /marketdata/exporter && exec "$@"' sh "$@" || status=1
    echo "fresh: $* took $(($(date +%s) - began)) s"
}
status=0
timed make demo 'ARGS=--seconds 30'
timed make test
exit $status
