#!/usr/bin/env bash
# kind.sh up|down: a chat on a Kubernetes in Docker, built from this tree; kind-config.yaml says of which nodes. `up` again builds
# again, and rolls what has changed.
set -euo pipefail
cd "$(dirname "$0")/.."
name=chatcluster
namespace=chatcluster-system
helm=${CHATCLUSTER_HELM:-}
[ -x "$helm" ] || helm=helm

# Before version 23 Docker builds without what the Dockerfile needs. And an attestation makes another image of the same content at
# each build, which would be rolled out, and which kind cannot load from Docker's containerd store.
export DOCKER_BUILDKIT=1 BUILDX_NO_DEFAULT_ATTESTATIONS=1

step() { scripts/step.sh "$@"; }
kubectl() { command kubectl --context "kind-$name" "$@"; }

# build TARGET: prints a tag that is this very image's.
build() {
  local ids
  ids=$(mktemp)
  docker build --target "$1" --iidfile "$ids" -t "chatcluster-$1:kind" . >&2
  local id
  id=$(<"$ids")
  rm -f "$ids"
  id=${id#sha256:}
  docker tag "chatcluster-$1:kind" "chatcluster-$1:${id:0:12}"
  printf '%s' "${id:0:12}"
}

up() {
  scripts/need.sh docker kind kubectl helm
  printf '== the images (Ctrl-C ends it; minutes the first time)\n'
  local server operator
  server=$(build server)
  operator=$(build operator)
  if ! kind get clusters 2>/dev/null | grep -x "$name" >/dev/null; then
    step "a cluster of four nodes" kind create cluster --name "$name" --config kind-config.yaml --wait 3m
  fi
  step "load the images" kind load docker-image --name "$name" "chatcluster-server:$server" "chatcluster-operator:$operator"
  step "the operator" "$helm" --kube-context "kind-$name" upgrade --install chatcluster-operator charts/chatcluster-operator \
    --namespace "$namespace" --create-namespace --set-string image.tag="$operator" --set-string serverImage.tag="$server" --wait --timeout 3m
  kubectl -n default apply --server-side -f examples/chatcluster-minimal.yaml -f examples/kind-port.yaml
  if ! kubectl -n default wait --for=condition=Ready chatcluster/chat --timeout=5m; then
    kubectl -n default describe chatcluster chat >&2
    kubectl -n default get pods -o wide >&2
    printf 'the chat is not ready: the conditions above say why; make kind-down removes all of it\n' >&2
    exit 1
  fi
  kubectl -n default get chatcluster chat
  printf '\nthe chat: http://localhost:3000\nkubectl --context kind-%s explain chatcluster.spec says what can be changed; make kind-down removes all of it\n' "$name"
}

down() {
  scripts/need.sh docker kind
  kind delete cluster --name "$name"
}

case "${1:-}" in
  up | down) "$1" ;;
  *) printf 'kind.sh up|down\n' >&2; exit 2 ;;
esac
