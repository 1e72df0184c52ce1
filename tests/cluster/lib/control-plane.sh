# The control plane runs on the host, which is no node: nothing can be scheduled there.

start_etcd() {
  start_process etcd "$BIN/etcd" --data-dir "$RUN/etcd" --unsafe-no-fsync \
    --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
    --listen-peer-urls http://127.0.0.1:2380
}

start_apiserver() {
  local pki=$RUN/pki
  # Webhooks and aggregated APIs are called on pod addresses, which the host reaches by static routes.
  start_process apiserver "$BIN/kube-apiserver" --etcd-servers=http://127.0.0.1:2379 --advertise-address=$HOST --secure-port=6443 \
    --allow-privileged=true --enable-aggregator-routing=true \
    --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --client-ca-file="$pki/ca.crt" \
    --kubelet-client-certificate="$pki/kubelet-client.crt" --kubelet-client-key="$pki/kubelet-client.key" \
    --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP \
    --service-cluster-ip-range=$SERVICES --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file="$pki/sa.pub" --service-account-signing-key-file="$pki/sa.key" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction \
    --requestheader-client-ca-file="$pki/ca.crt" --requestheader-allowed-names=front-proxy \
    --requestheader-username-headers=X-Remote-User --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$pki/front-proxy.crt" --proxy-client-key-file="$pki/front-proxy.key" "$@"
  until_ok 60 kubectl get --raw /readyz
}

start_controllers() {
  local pki=$RUN/pki
  start_process kcm "$BIN/kube-controller-manager" --kubeconfig="$RUN/kcm.kubeconfig" --leader-elect=false \
    --service-account-private-key-file="$pki/sa.key" --root-ca-file="$pki/ca.crt" --use-service-account-credentials=true \
    --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key" --allocate-node-cidrs=false "$@"
  start_process sched "$BIN/kube-scheduler" --kubeconfig="$RUN/sched.kubeconfig" --leader-elect=false
}

# Makes service addresses work from the host. It poses as n1, because with a name that has no Node object it waits 30 s first;
# it ends when that object changes, so it is started again.
start_host_proxy() {
  start_process proxy "$SELF" _keep "$BIN/kube-proxy" --kubeconfig="$RUN/proxy.kubeconfig" --hostname-override=n1 \
    --bind-address=$HOST --proxy-mode=nftables --cluster-cidr=$PODS --conntrack-max-per-core=0
}

start_control_plane() {
  local apiserver=() controllers=()
  if [ "$FAST" = 1 ]; then # NotReady after 12 s and pods evicted 5 s later, instead of 50 s and 300 s
    apiserver=(--default-not-ready-toleration-seconds=5 --default-unreachable-toleration-seconds=5)
    controllers=(--node-monitor-period=1s --node-monitor-grace-period=12s --node-startup-grace-period=20s --node-eviction-rate=10)
  fi
  ip link add $BRIDGE type bridge
  ip addr add $HOST/24 dev $BRIDGE
  ip link set $BRIDGE up
  start_etcd
  start_apiserver "${apiserver[@]}"
  start_controllers "${controllers[@]}"
  start_host_proxy
  start_process provision "$SELF" _provision
}
