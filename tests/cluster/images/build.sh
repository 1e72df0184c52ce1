#!/usr/bin/env bash
# Builds the images that every cluster needs into OUT/*.tar: no registry, no engine, no network (buildah, FROM scratch).
#   build.sh OUT BIN    BIN: the folder that tools/build.sh filled
set -euo pipefail
mkdir -p "$1"
out=$(readlink -f "$1")
bin=$(readlink -f "$2")
cd "$(dirname "$0")"
contexts=$(mktemp -d)
trap 'rm -rf "$contexts"' EXIT

# image NAME: of NAME/Dockerfile, with what was put into its context.
image() {
  local name=registry.local/$1:1
  buildah --storage-driver vfs bud --isolation chroot -q -t "$name" -f "$1/Dockerfile" "$contexts/$1" >/dev/null
  rm -f "$out/$1.tar"
  buildah --storage-driver vfs push -q "$name" "docker-archive:$out/$1.tar:$name"
  buildah --storage-driver vfs rmi "$name" >/dev/null
  echo "image $1"
}

of_one_file() {
  mkdir "$contexts/$1"
  cp "$bin/$1" "$contexts/$1/$1"
  image "$1"
}

# A shell with the usual commands, for tests that need one inside the cluster: our own images have none.
busybox() {
  local root=$contexts/busybox/root applet
  mkdir -p "$root"/{bin,tmp,etc}
  chmod 1777 "$root/tmp"
  cp "$(readlink -f /bin/busybox)" "$root/bin/busybox"
  for applet in $("$root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
  done
  echo 'hosts: files dns' >"$root/etc/nsswitch.conf"
  echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
  image busybox
}

of_one_file pause
of_one_file coredns
busybox
