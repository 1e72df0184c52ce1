# A node: one process tree in its own net, mount, pid, uts and ipc namespaces, with containerd, kubelet and kube-proxy.
# To kill its process group is a power cut: shims, pods, mounts and addresses go with the namespaces.

address_of() { echo "10.200.0.$((10 + $1))"; }

# A kubelet may not give itself a zone, a role or a pod network: the Node is there before it.
node_object() {
  cat <<YAML
apiVersion: v1
kind: Node
metadata:
  name: n$1
  labels: {kubernetes.io/hostname: n$1, topology.kubernetes.io/zone: z$1, topology.kubernetes.io/region: r1, node-role.kubernetes.io/worker: ""}
spec: {podCIDR: 10.244.$1.0/24, podCIDRs: [10.244.$1.0/24]}
YAML
}

write_network_config() {
  # No masquerade but kube-proxy's own: pods and the API server see true addresses.
  cat >"$RUN/n$1/cni/10-net.conflist" <<JSON
{"cniVersion":"0.4.0","name":"net","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"hairpinMode":true,"ipMasq":false,
 "ipam":{"type":"host-local","ranges":[[{"subnet":"10.244.$1.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true}}]}
JSON
}

write_containerd_config() {
  # Lower oom scores need CAP_SYS_RESOURCE, which a container that runs this may not have.
  cat >"$RUN/n$1/containerd.toml" <<TOML
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  restrict_oom_score_adj = true
  sandbox_image = "registry.local/pause:1"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$RUN/n$1/cni"
TOML
}

write_kubelet_config() {
  # Images cannot be pulled again, so none is ever removed; each node would report the whole machine's memory.
  cat >"$RUN/n$1/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$RUN/pki/ca.crt"}}
authorization: {mode: Webhook}
tlsCertFile: "$RUN/pki/n$1-serving.crt"
tlsPrivateKeyFile: "$RUN/pki/n$1-serving.key"
clusterDomain: cluster.local
clusterDNS: ["$DNS"]
resolvConf: ""
containerRuntimeEndpoint: "unix:///run/containerd/containerd.sock"
cgroupDriver: cgroupfs
cgroupRoot: /kt/n$1
failCgroupV1: false
failSwapOn: false
systemReserved: {memory: 12Gi}
evictionHard: {nodefs.available: "1%", imagefs.available: "1%", nodefs.inodesFree: "1%"}
imageGCHighThresholdPercent: 100
nodeLeaseDurationSeconds: $([ "$FAST" = 1 ] && echo 8 || echo 40)
YAML
}

write_node_files() {
  mkdir -p "$RUN/n$1"/{cni,run}
  cd "$RUN/pki"
  kubeconfig "n$1" "/O=system:nodes/CN=system:node:n$1"
  certificate "n$1-serving" "/O=system:nodes/CN=system:node:n$1" "DNS:n$1,IP:$(address_of "$1")"
  write_network_config "$1"
  write_containerd_config "$1"
  write_kubelet_config "$1"
}

# The node's own folders under all the default paths; /tmp and the rest are shared. Volumes need shared propagation.
mount_node_folders() {
  local folder
  mount -t proc proc /proc
  for folder in run var/lib/containerd var/lib/kubelet var/lib/cni var/log/pods var/log/containers var/local/pv; do
    mkdir -p "$1/$folder" "/$folder"
    mount --bind "$1/$folder" "/$folder"
  done
  rm -rf "$1"/run/*
  mount --make-rshared /
}

set_up_node_network() {
  local other
  until_ok 20 ip link show eth0
  ip link set lo up
  ip addr add "$(address_of "$1")/24" dev eth0
  ip link set eth0 up
  ip route add default via $HOST
  for other in {1..9}; do
    [ "$other" = "$1" ] || ip route add "10.244.$other.0/24" via "$(address_of "$other")"
  done
  echo 1 >/proc/sys/net/ipv4/ip_forward
}

import_images() {
  local image
  [ ! -e "$1/loaded" ] || return 0
  for image in "$IMAGES"/*.tar; do ctr -n k8s.io images import "$image"; done
  touch "$1/loaded"
}

# Pid 1 of the node. Bash reaps what containers leave behind.
run_node() {
  local folder=$RUN/n$1
  enter_cgroup "n$1"
  hostname "n$1"
  mount_node_folders "$folder"
  exec </dev/null >>"$folder/node.log" 2>&1
  set_up_node_network "$1"
  keep_running containerd -c "$folder/containerd.toml" >>"$folder/containerd.log" 2>&1 &
  until_ok 20 ctr version
  import_images "$folder"
  # A connection to the API server that died in a cut is noticed soon.
  export HTTP2_READ_IDLE_TIMEOUT_SECONDS=5 HTTP2_PING_TIMEOUT_SECONDS=3
  keep_running "$BIN/kubelet" --config="$folder/kubelet.yaml" --kubeconfig="$RUN/n$1.kubeconfig" --hostname-override="n$1" \
    --node-ip="$(address_of "$1")" >>"$folder/kubelet.log" 2>&1 &
  keep_running "$BIN/kube-proxy" --kubeconfig="$RUN/proxy.kubeconfig" --hostname-override="n$1" --proxy-mode=nftables \
    --cluster-cidr=$PODS --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0 \
    >>"$folder/proxy.log" 2>&1 &
  while :; do
    wait || :
    sleep 1
  done
}

pid_of_node() { pgrep -P "$(cat "$RUN/n$1.pid")"; }

start_node() {
  node_object "$1" | kubectl create -f - >/dev/null 2>&1 || : # it outlives a power cut, but not `kubectl delete node`
  remove_cgroups "kt/n$1" # cAdvisor would spend 3 s on each cgroup that a killed node left
  setsid unshare --net --mount --pid --uts --ipc --fork --kill-child "$SELF" _node "$1" </dev/null >"$RUN/log/n$1.log" 2>&1 &
  echo $! >"$RUN/n$1.pid"
  ip link del "kt-v$1" 2>/dev/null || : # a namespace dies a little after its processes
  until_ok 10 pid_of_node "$1"
  ip link add "kt-v$1" type veth peer name eth0 netns "$(pid_of_node "$1")"
  ip link set "kt-v$1" master $BRIDGE up
  ip route replace "10.244.$1.0/24" via "$(address_of "$1")"
}

# Drops all traffic between two nodes; both still reach the control plane.
split_nodes() {
  nft add table bridge kt
  nft add chain bridge kt f '{ type filter hook forward priority 0; }'
  nft add rule bridge kt f iifname "kt-v$1" oifname "kt-v$2" drop
  nft add rule bridge kt f iifname "kt-v$2" oifname "kt-v$1" drop
}
