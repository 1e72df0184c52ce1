"""Who may do what: the flows that the operator's NetworkPolicy lets through, and the reach of its rights."""

import unittest

from charts import OPERATOR, objects, one, render

SERVER = {"app.kubernetes.io/name": "chatcluster-server", "app.kubernetes.io/managed-by": "chatcluster-operator"}
NODE = "node"


def selects(selector, labels):
    """Whether a selector with matchLabels finds these labels."""
    assert set(selector) <= {"matchLabels"}, selector
    return selector.get("matchLabels", {}).items() <= labels.items()


def lets_through(rules, side, peer, protocol, port):
    """Whether one of a policy's rules admits a flow from or to a peer: (namespace, labels), or NODE for what is no pod."""
    for rule in rules:
        ports = rule.get("ports")
        if ports is not None and {"protocol": protocol, "port": port} not in ports:
            continue
        peers = rule.get(side)
        if peers is None:
            return True
        for each in peers:
            if peer == NODE or "ipBlock" in each:
                continue
            namespace, labels = peer
            named = {"kubernetes.io/metadata.name": namespace}
            if selects(each.get("namespaceSelector", {}), named) and selects(each.get("podSelector", {}), labels):
                return True
    return False


class Flows(unittest.TestCase):
    def policy(self, *arguments):
        return one(objects(render(OPERATOR, *arguments)), "NetworkPolicy")["spec"]

    def leaves(self, policy, peer, protocol, port):
        return lets_through(policy["egress"], "to", peer, protocol, port)

    def test_the_operator_reaches_what_it_needs_and_nothing_else(self):
        policy = self.policy()
        self.assertEqual(policy["policyTypes"], ["Ingress", "Egress"])
        anybody = ("team", {"app.kubernetes.io/name": "database"})
        server = ("team", SERVER)
        for peer, protocol, port, passes in [
            (NODE, "TCP", 443, True),
            (NODE, "TCP", 6443, True),
            (("kube-system", {"k8s-app": "kube-dns"}), "UDP", 53, True),
            (("kube-system", {"k8s-app": "kube-dns"}), "TCP", 53, True),
            (server, "TCP", 9090, True),
            (server, "TCP", 3000, False),
            (server, "TCP", 3001, False),
            (anybody, "TCP", 9090, False),
            (("team", SERVER | {"app.kubernetes.io/name": "nats"}), "TCP", 9090, False),
            (anybody, "TCP", 5432, False),
            (NODE, "TCP", 9090, False),
            (NODE, "TCP", 10250, False),
        ]:
            with self.subTest(peer=peer, port=port):
                self.assertEqual(self.leaves(policy, peer, protocol, port), passes)

    def test_an_operator_of_one_namespace_reaches_servers_there_only(self):
        policy = self.policy("--set", "watchNamespace=team")
        self.assertTrue(self.leaves(policy, ("team", SERVER), "TCP", 9090))
        self.assertFalse(self.leaves(policy, ("other", SERVER), "TCP", 9090))

    def test_nobody_reaches_the_operator_but_who_may_read_metrics(self):
        prometheus = ("monitoring", {"app.kubernetes.io/name": "prometheus"})
        self.assertEqual(self.policy()["ingress"], [])
        peer = "networkPolicy.metricsFrom[0].namespaceSelector.matchLabels.kubernetes\\.io/metadata\\.name=monitoring"
        rules = self.policy("--set", peer)["ingress"]
        self.assertTrue(lets_through(rules, "from", prometheus, "TCP", 8080))
        self.assertFalse(lets_through(rules, "from", ("team", prometheus[1]), "TCP", 8080))
        self.assertFalse(lets_through(rules, "from", prometheus, "TCP", 9090))

    def test_the_policy_is_about_the_operators_pods_and_servers_let_them_in(self):
        found = objects(render(OPERATOR))
        labels = one(found, "Deployment")["spec"]["template"]["metadata"]["labels"]
        for each in ("NetworkPolicy", "PodDisruptionBudget"):
            spec = one(found, each)["spec"]
            self.assertTrue(selects(spec.get("podSelector", spec.get("selector")), labels))
        # By this one servers know who is the operator: operator/src/controller/build/network_policy.rs
        self.assertEqual(labels["app.kubernetes.io/name"], "chatcluster-operator")


class Rights(unittest.TestCase):
    """Which verbs are given is held by the operator's own tests (operator/src/fixtures/rights.rs); here, where they hold."""

    def roles(self, *arguments):
        kinds = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")
        return [each for each in objects(render(OPERATOR, *arguments)) if each["kind"] in kinds]

    def test_rights_reach_no_further_than_the_namespace_that_is_served(self):
        everywhere, team = self.roles(), self.roles("--set", "watchNamespace=team")
        rules = one(everywhere, "ClusterRole", "chatcluster-system:chatcluster-operator")["rules"]
        self.assertEqual(one(team, "Role", "chatcluster-system:chatcluster-operator")["rules"], rules)
        bindings = [each["metadata"] for each in team if each["kind"] == "RoleBinding"]
        self.assertEqual({each["namespace"] for each in bindings}, {"team", "chatcluster-system"})
        bound = [each["roleRef"]["name"] for each in team if each["kind"] == "ClusterRoleBinding"]
        self.assertEqual(bound, ["chatcluster-system:chatcluster-operator:nodes"])

    def test_nothing_lies_outside_of_namespaces_where_that_is_asked_for(self):
        kinds = [each["kind"] for each in self.roles("--set", "watchNamespace=team,rbac.readNodes=false,rbac.aggregate=false")]
        self.assertEqual(sorted(kinds), ["Role", "Role", "RoleBinding", "RoleBinding"])

    def test_secrets_are_never_listed_and_nothing_is_given_by_a_star(self):
        for role in self.roles():
            for rule in role.get("rules", []):
                self.assertNotIn("*", rule["apiGroups"] + rule["resources"] + rule["verbs"])
                if "secrets" in rule["resources"]:
                    self.assertEqual(rule["verbs"], ["get", "create", "patch"])

    def test_every_binding_is_to_a_role_of_the_chart_and_to_the_operators_account(self):
        found = objects(render(OPERATOR))
        account = one(found, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"]
        roles = {(each["kind"], each["metadata"]["name"]) for each in found if each["kind"] in ("Role", "ClusterRole")}
        for binding in (each for each in found if each["kind"].endswith("Binding")):
            self.assertIn((binding["roleRef"]["kind"], binding["roleRef"]["name"]), roles)
            subject = {"kind": "ServiceAccount", "name": account, "namespace": "chatcluster-system"}
            self.assertEqual(binding["subjects"], [subject])


if __name__ == "__main__":
    unittest.main()
