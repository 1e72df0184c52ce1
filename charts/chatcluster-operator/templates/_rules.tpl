{{/*
What the operator does to objects of the namespaces that it serves, and nothing else: operator/src/fixtures/rights.rs refuses in tests
what is not given here, and a test there fails on what is given and not used.
*/}}
{{- define "operator.rules" -}}
- apiGroups: [chatcluster.dev]
  resources: [chatclusters]
  verbs: [get, list, watch, patch]
- apiGroups: [chatcluster.dev]
  resources: [chatclusters/status]
  verbs: [patch]
- apiGroups: [apps]
  resources: [statefulsets]
  verbs: [get, list, watch, create, patch]
- apiGroups: [""]
  resources: [serviceaccounts]
  verbs: [get, list, watch, create, patch]
# That of an API for backends is deleted when it is not asked for any more.
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
# Those of earlier configurations are deleted.
- apiGroups: [""]
  resources: [configmaps]
  verbs: [list, watch, create, patch, delete]
# Only those that a ChatCluster names, and its own: they are never listed.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies, ingresses]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.networking.k8s.io]
  resources: [httproutes]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [gateway.envoyproxy.io]
  resources: [backendtrafficpolicies]
  verbs: [get, list, watch, create, patch, delete]
# The label by which a pod takes new clients, and the end of those on lost nodes.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, patch, delete]
# Whether a ChatCluster goes with its namespace: then its clients are not waited for.
- apiGroups: [""]
  resources: [namespaces]
  verbs: [get]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end -}}
