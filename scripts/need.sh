#!/usr/bin/env bash
# need.sh THING...: makes sure that what a target needs is there, or says in one line what to install.
# Only Debian packages are installed, and only as root: everything else is the developer's own choice.
set -euo pipefail

say() { printf '%s\n' "$*" >&2; }

# apt_install PACKAGE...: true if the packages are installed afterwards.
apt_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  say "installing $* (Debian packages)"
  export DEBIAN_FRONTEND=noninteractive
  local options=(-qq -o Dpkg::Use-Pty=0 -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300)
  apt-get "${options[@]}" update >/dev/null || return 1
  apt-get "${options[@]}" install -y --no-install-recommends "$@" >/dev/null
}

need_rust() {
  command -v cargo >/dev/null && return
  say "Rust is missing: install rustup (https://rustup.rs); rust-toolchain.toml then picks the version"
  return 1
}

need_node() {
  local version
  if ! version=$(node --version 2>/dev/null); then
    say "Node is missing: install Node 20 or newer (https://nodejs.org)"
    return 1
  fi
  local major=${version#v}
  major=${major%%.*}
  [ "$major" -ge 20 ] && return
  say "Node $version is too old: install Node 20 or newer (https://nodejs.org)"
  return 1
}

# Debian's Go is too old to be worth installing. Asked in the module's folder, a Go that may fetch the version of go.mod has done so.
need_go() {
  local version
  if ! command -v go >/dev/null; then
    say "Go is missing: install Go 1.26 or newer (https://go.dev/dl)"
    return 1
  fi
  version=$(cd "$(dirname "$0")/../tests/tools" && go env GOVERSION 2>/dev/null) || version=$(go version | awk '{ print $3 }')
  local minor=${version#go1.}
  minor=${minor%%[!0-9]*}
  [ "${minor:-0}" -ge 26 ] && return
  say "Go ${version#go} is too old: install Go 1.26 or newer (https://go.dev/dl)"
  return 1
}

need_browser() {
  [ -x "${CHROMIUM:-}" ] && return
  local name
  for name in chromium chromium-browser google-chrome; do
    command -v "$name" >/dev/null && return
  done
  apt_install chromium && return
  say "a browser is missing: install Debian's package 'chromium', or set CHROMIUM to the path of a Chromium"
  return 1
}

need_python() {
  python3 -c 'import ensurepip, venv' 2>/dev/null && return
  apt_install python3 python3-venv && return
  say "Python's venv is missing: install Debian's packages 'python3' and 'python3-venv'"
  return 1
}

need_taskset() {
  command -v taskset >/dev/null && return
  apt_install util-linux && return
  say "taskset is missing: install Debian's package 'util-linux' (the comparison runs on Linux only)"
  return 1
}

need_redis() {
  command -v redis-server >/dev/null && return
  apt_install redis-server && return
  say "Redis is missing: install Debian's package 'redis-server' (the comparison starts its own; no service is needed)"
  return 1
}

need_docker() {
  if ! command -v docker >/dev/null; then
    say "Docker is missing: install it (https://docs.docker.com/engine/install)"
    return 1
  fi
  docker info >/dev/null 2>&1 && return
  say "Docker is installed, but its engine does not answer: start it ('docker info' says what is wrong)"
  return 1
}

need_kind() {
  command -v kind >/dev/null && return
  say "kind is missing: install it (https://kind.sigs.k8s.io)"
  return 1
}

need_kubectl() {
  command -v kubectl >/dev/null && return
  say "kubectl is missing: install it (https://kubernetes.io/docs/tasks/tools)"
  return 1
}

need_helm() {
  [ -x "${CHATCLUSTER_HELM:-}" ] || command -v helm >/dev/null && return
  say "Helm is missing: install Helm 4 (https://helm.sh), or let 'make helm' build it"
  return 1
}

# What makes a node of a process tree: only Linux with cgroup v1 can be one.
need_nodes() {
  local packages=(containerd runc containernetworking-plugins nftables iproute2 conntrack socat buildah busybox-static openssl)
  command -v containerd runc nft ip conntrack buildah openssl >/dev/null && [ -x /usr/lib/cni/bridge ] && [ -x /bin/busybox ] && return
  apt_install "${packages[@]}" && return
  say "a Kubernetes without Docker needs Debian's packages ${packages[*]}"
  return 1
}

# The C parts of static programs (SQLite, the allocator) are compiled by it.
need_musl() {
  command -v musl-gcc >/dev/null && return
  apt_install musl-tools && return
  say "musl-gcc is missing: install Debian's package 'musl-tools' (images hold static programs)"
  return 1
}

need_haproxy() {
  command -v haproxy >/dev/null && return
  apt_install haproxy && return
  say "HAProxy is missing: install Debian's package 'haproxy' (the tests start their own; no service is needed)"
  return 1
}

for thing in "$@"; do
  case "$thing" in
    rust | node | go | browser | python | taskset | redis | nodes | musl | haproxy | docker | kind | kubectl | helm) "need_$thing" ;;
    *) say "need.sh knows rust, node, go, browser, python, taskset, redis, nodes, musl, haproxy, docker, kind, kubectl, helm; not '$thing'"; exit 2 ;;
  esac
done
