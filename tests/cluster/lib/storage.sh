# The storage class "standard": a directory of the node that the scheduler chose, as a volume of type `local`. Not hostPath:
# only `local` applies fsGroup, without which a pod that is not root could not write.

volume() { # volume NAMESPACE CLAIM UID SIZE NODE
  cat <<YAML
apiVersion: v1
kind: PersistentVolume
metadata: {name: pvc-$3, annotations: {pv.kubernetes.io/provisioned-by: kt.local/dir}}
spec:
  capacity: {storage: $4}
  accessModes: [ReadWriteOnce]
  persistentVolumeReclaimPolicy: Delete
  storageClassName: standard
  claimRef: {apiVersion: v1, kind: PersistentVolumeClaim, namespace: $1, name: $2, uid: $3}
  local: {path: /var/local/pv/pvc-$3}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [$5]}]}]}}
YAML
}

# Removes volumes whose claim is gone, with what is in them.
remove_released_volumes() {
  local columns='{.metadata.name} {.status.phase} {.spec.storageClassName}' node='{..values[0]}'
  keep_running kubectl get pv -w -o jsonpath="$columns $node{\"\\n\"}" | while read -r name phase class node; do
    [ "$phase/$class" = Released/standard ] || continue
    rm -rf "$RUN/$node/var/local/pv/$name"
    kubectl delete pv "$name" --wait=false || :
  done
}

provision_claims() {
  local columns='{.metadata.namespace} {.metadata.name} {.status.phase} {.spec.storageClassName} {.metadata.uid}'
  columns+=' {.spec.resources.requests.storage} {.metadata.annotations.volume\.kubernetes\.io/selected-node}'
  keep_running kubectl get pvc -A -w -o jsonpath="$columns{\"\\n\"}" | while read -r namespace name phase class uid size node; do
    [ "$phase/$class" = Pending/standard ] && [ -n "$node" ] || continue
    mkdir "$RUN/$node/var/local/pv/pvc-$uid" || continue
    volume "$namespace" "$name" "$uid" "$size" "$node" | kubectl create -f - || :
  done
}

provision_volumes() {
  remove_released_volumes &
  provision_claims
}
