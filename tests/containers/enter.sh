#!/bin/sh
# Becomes the engine in the root $1, with the folder $2 of this machine as /place and control groups in $3. Run as the first process of mount,
# network and process namespaces of its own: no mount, rule, bridge or process of it outlives it.
set -eu
root=$1
mount --make-rprivate /
mount --bind "$root" "$root"
mkdir -p "$root/place" "$root/host"
mount --bind "$2" "$root/place"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
echo nameserver 10.0.2.3 >"$root/etc/resolv.conf"  # that of slirp4netns
cd "$root"
pivot_root . host
umount -l /host
exec dockerd --data-root /place/docker --exec-opt native.cgroupdriver=cgroupfs --cgroup-parent "/$3"
