#!/bin/sh
# Brings what the container suite runs into .cache/containers: a container engine in a folder of its own, the roots of images that stand in
# for those that cannot be pulled, and Apache Kafka in the version of docker-compose.yml. Does nothing when all are there.
set -eu
cd "$(dirname "$0")"
cache=../../.cache/containers
suite=trixie  # it has the Python of the Dockerfile
mkdir -p "$cache"
cache=$(realpath "$cache")

missing=
need() {  # COMMAND PACKAGE
    command -v "$1" >/dev/null || missing="$missing $2"
}
need mmdebstrap mmdebstrap
need slirp4netns slirp4netns
need unshare util-linux
need mvn maven
# shellcheck disable=SC2086  # a list of words
[ -z "$missing" ] || ./debian.sh $missing

root() {  # NAME PACKAGES [OPTIONS]: NAME is a folder, or ends in .tar
    [ ! -e "$cache/$1" ] || return 0
    name=$1 packages=$2
    shift 2
    part=$cache/part-$name  # an interrupted one must not look like a complete one
    rm -rf "$part"
    mmdebstrap --quiet --variant=minbase --include="$packages" "$@" "$suite" "$part"
    mv "$part" "$cache/$name"
}

# What builds in a container finds the registry as it is found here.
trust() {
    root "$@" \
        --customize-hook='cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/"' \
        --customize-hook='[ ! -e /etc/pip.conf ] || cp /etc/pip.conf "$1/etc/"'
}

root engine docker.io,docker-cli,docker-compose,docker-buildx,iptables,ca-certificates --format=directory &
engine=$!
trust python.tar python3,python3-venv,python3-pip,ca-certificates \
    --customize-hook='ln -s /usr/bin/python3 "$1/usr/local/bin/python"' \
    --customize-hook='rm -f "$1"/usr/lib/python3*/EXTERNALLY-MANAGED'
root services.tar default-jre-headless,redis-server,prometheus,wget,python3
[ -d "$cache/kafka" ] || ./kafka.sh "$cache/kafka" ../containers/images/kafka.xml
wait "$engine"
