#!/usr/bin/env bash
# A real Kubernetes of several nodes on one machine, without Docker.
#   cluster.sh up N              boots the control plane and N (1-9) nodes, CoreDNS and storage; waits until they are ready
#   cluster.sh down              ends everything and removes every trace: processes, bridge, nft tables, cgroups, files
#   cluster.sh kill I | start I  powers a node off at once | boots it again with the state it had
#   cluster.sh cut I | heal I    pulls the node's network cable | plugs it in again, and ends every split
#   cluster.sh split I J         drops all traffic between two nodes; both still reach the control plane
#   cluster.sh in I [COMMAND...] runs a command (bash, without one) inside node I
#   cluster.sh load TAR...       imports image archives into all nodes
# CLUSTER_HOME (default .tools/kubernetes) holds bin/ (tools/build.sh), img/ (images/build.sh) and run/.
# CLUSTER_FAST=0 has Kubernetes notice a dead node as slowly as it does by default. One cluster per machine: addresses are fixed.
set -euo pipefail
SELF=$(readlink -f "$0")
HERE=$(dirname "$SELF")
HOME_FOLDER=${CLUSTER_HOME:-$HERE/../../.tools/kubernetes}
mkdir -p "$HOME_FOLDER"
HOME_FOLDER=$(readlink -f "$HOME_FOLDER")
export CLUSTER_HOME=$HOME_FOLDER
BIN=$HOME_FOLDER/bin IMAGES=$HOME_FOLDER/img RUN=$HOME_FOLDER/run
FAST=${CLUSTER_FAST:-1}
BRIDGE=kt0 HOST=10.200.0.1 PODS=10.244.0.0/16 SERVICES=10.96.0.0/16 DNS=10.96.0.10 CGROUPS=/sys/fs/cgroup
# What kubelet changes for the whole machine, and we; set back by `down`.
SYSCTLS=(vm.overcommit_memory kernel.panic kernel.panic_on_oops net.ipv4.ip_forward)
export PATH=$BIN:$PATH KUBECONFIG=$RUN/admin.kubeconfig

die() {
  echo "cluster.sh: $*" >&2
  exit 1
}
for part in processes certificates control-plane storage node; do
  # shellcheck source=/dev/null
  source "$HERE/lib/$part.sh"
done

check_machine() {
  [ "$(id -u)" = 0 ] || die "needs root: a node is made of namespaces and cgroups"
  [ -d "$CGROUPS/memory" ] || die "needs cgroup v1; with cgroup v2 use kind (make kind-up)"
  [ -x "$BIN/kubelet" ] || die "no Kubernetes in $BIN: make kubernetes"
  compgen -G "$IMAGES/*.tar" >/dev/null || die "no images in $IMAGES: make kubernetes"
  [ ! -e "$RUN" ] || die "$RUN is there: a cluster runs, or was not ended; cluster.sh down"
  ! ip link show $BRIDGE >/dev/null 2>&1 || die "$BRIDGE is there: another cluster runs on this machine"
}

say_after() { echo "$1 after $((SECONDS - began)) s"; }

up() {
  local nodes=$1 i began=$SECONDS
  [[ $nodes =~ ^[1-9]$ ]] || die "up N: N is from 1 to 9, not '$nodes'"
  check_machine
  mkdir -p "$RUN/log"
  sysctl -n "${SYSCTLS[@]}" | xargs >"$RUN/sysctls"
  sysctl -qw net.ipv4.ip_forward=1
  make_certificates
  for ((i = 1; i <= nodes; i++)); do write_node_files "$i"; done
  start_control_plane
  say_after "control plane"
  for ((i = 1; i <= nodes; i++)); do start_node "$i"; done
  for i in "$HERE"/addons/*.yaml; do until_ok 20 kubectl apply -f "$i"; done
  kubectl wait node --all --for=condition=Ready --timeout=120s >/dev/null
  say_after "$nodes nodes ready"
  kubectl -n kube-system wait deploy --all --for=condition=Available --timeout=120s >/dev/null
  say_after "DNS ready"
  echo "export KUBECONFIG=$KUBECONFIG"
}

restore_sysctls() {
  local values i
  [ -s "$RUN/sysctls" ] || return 0
  read -ra values <"$RUN/sysctls"
  for i in "${!SYSCTLS[@]}"; do sysctl -qw "${SYSCTLS[$i]}=${values[$i]}"; done
}

down() {
  local name
  cd /
  kill_processes n{1..9} provision proxy sched kcm apiserver etcd
  for name in $BRIDGE kt-v{1..9}; do ip link del "$name" 2>/dev/null || :; done
  for name in "ip kube-proxy" "ip6 kube-proxy" "bridge kt"; do
    # shellcheck disable=SC2086 # family and table are two words
    nft delete table $name 2>/dev/null || :
  done
  remove_cgroups kt
  restore_sysctls
  rm -rf "$RUN"
}

load() {
  local pid_file archive
  for pid_file in "$RUN"/n*.pid; do
    pid_file=$(basename "$pid_file" .pid)
    for archive; do
      "$SELF" in "${pid_file#n}" ctr -n k8s.io images import "$(readlink -f "$archive")" >/dev/null
    done
  done
}

inside() {
  local pid
  pid=$(pid_of_node "$1")
  shift
  exec nsenter -t "$pid" -m -n -p -u -i "${@:-bash}"
}

usage() {
  sed -n '2,12s/^# \{0,1\}//p' "$SELF"
  exit 2
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
  up) up "${1:-3}" ;;
  down) down ;;
  kill) kill_processes "n$1" ;;
  start) start_node "$1" ;;
  cut) ip link set "kt-v$1" down ;;
  heal)
    ip link set "kt-v$1" up
    nft delete table bridge kt 2>/dev/null || :
    ;;
  split) split_nodes "$1" "$2" ;;
  in) inside "$@" ;;
  load) load "$@" ;;
  _node) run_node "$1" ;;
  _keep) keep_running "$@" ;;
  _provision) provision_volumes ;;
  *) usage ;;
esac
