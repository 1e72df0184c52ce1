#!/usr/bin/env bash
# Builds the images without Docker, registry and network: static programs by the installed Rust, the rest by the Dockerfile's own
# last stages, with buildah.
#   images.sh PROFILE OUT NATS    PROFILE: Cargo's, dev or release; OUT: folder of the archives; NATS: a nats-server, for the
#                                 tests' own NATS
set -euo pipefail
profile=$1
mkdir -p "$2"
out=$(readlink -f "$2")
nats=$(readlink -f "$3")
cd "$(dirname "$0")/.."
target=$(uname -m)-unknown-linux-musl
rustup target add "$target" >/dev/null 2>&1 || { echo "images.sh: rustup cannot add the target $target" >&2; exit 1; }
cargo build --quiet --locked --profile "$profile" --target "$target" \
  -p chatcluster-server --bin chatcluster-server -p chatcluster-operator --bin chatcluster-operator
programs=${CARGO_TARGET_DIR:-target}/$target/${profile/#dev/debug}
# Stands for the Dockerfile's stages that build: its last stages copy out of it.
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
mkdir -p "$root/image/var/lib/chatcluster" "$root/etc/ssl/certs"
chown 65532:65532 "$root/image/var/lib/chatcluster"
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
stages=()
for stage in page build build-server build-operator; do stages+=(--build-context "$stage=$root"); done

# image NAME DOCKERFILE TARGET
image() {
  local name=registry.local/$1:1
  buildah --storage-driver vfs bud --isolation chroot -q -t "$name" -f "$2" --target "$3" "${stages[@]}" "$root" >/dev/null
  rm -f "$out/$1.tar"
  buildah --storage-driver vfs push -q "$name" "docker-archive:$out/$1.tar:$name"
  buildah --storage-driver vfs rmi "$name" >/dev/null
  echo "image $1, $(($(stat -c %s "$out/$1.tar") / 1048576)) MiB"
}

for program in server operator; do
  objcopy --strip-all "$programs/chatcluster-$program" "$root/image/chatcluster-$program"
  image "chatcluster-$program" Dockerfile "$program"
done
cp "$nats" "$root/image/nats-server"
image nats-server tests/cluster/images/nats-server/Dockerfile nats-server
