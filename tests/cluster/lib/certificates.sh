# Who is who: one certificate authority, a certificate for each part of the cluster, no tokens and no unverified TLS.

new_key() { openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$1.key" -subj "$2" 2>/dev/null; }

sign() { openssl x509 -req -days 30 -set_serial "0x$(openssl rand -hex 8)" "$@" 2>/dev/null; }

# certificate NAME SUBJECT [ALTERNATIVE NAMES]
certificate() {
  new_key "$1" "$2" | sign -CA ca.crt -CAkey ca.key -out "$1.crt" -extfile <(
    printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature \
      extendedKeyUsage=serverAuth,clientAuth subjectKeyIdentifier=hash authorityKeyIdentifier=keyid
    [ -z "${3:-}" ] || echo "subjectAltName=$3"
  )
}

# kubeconfig NAME SUBJECT: a certificate, and the file by which a client uses it.
kubeconfig() {
  certificate "$1" "$2"
  cat >"$RUN/$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: kt, cluster: {server: "https://$HOST:6443", certificate-authority-data: $(base64 -w0 ca.crt)}}]
users: [{name: u, user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}}]
contexts: [{name: kt, context: {cluster: kt, user: u}}]
current-context: kt
YAML
}

make_certificates() {
  mkdir -p "$RUN/pki"
  cd "$RUN/pki"
  new_key ca /CN=kt-ca | sign -signkey ca.key -out ca.crt -extfile <(
    printf '%s\n' basicConstraints=critical,CA:TRUE keyUsage=critical,keyCertSign,cRLSign,digitalSignature \
      subjectKeyIdentifier=hash
  )
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out sa.key 2>/dev/null
  openssl pkey -in sa.key -pubout -out sa.pub
  local service=kubernetes.default
  certificate apiserver /CN=kube-apiserver \
    "DNS:kubernetes,DNS:$service,DNS:$service.svc,DNS:$service.svc.cluster.local,DNS:localhost,IP:${SERVICES%0/*}1,IP:$HOST,IP:127.0.0.1"
  certificate kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
  certificate front-proxy /CN=front-proxy
  kubeconfig admin /O=system:masters/CN=admin
  kubeconfig kcm /CN=system:kube-controller-manager
  kubeconfig sched /CN=system:kube-scheduler
  kubeconfig proxy /CN=system:kube-proxy
}
