"""The rendered objects: by the schemas of Kubernetes, by the restricted Pod Security Standard, by what the operator expects."""

import re
import unittest

import kubernetes_validate
import yaml

from charts import CHATCLUSTER, OPERATOR, ROOT, objects, one, render, values_files

# The oldest Kubernetes that is served, and the one that the tests run on.
RELEASES = ("1.33", "1.37")
# Judged by the charts' schemas, and by the API server.
OURS = "chatcluster.dev/"


def rendered():
    """Chart, values and objects of everything that is rendered, the plain manifests too."""
    for name in (OPERATOR, CHATCLUSTER):
        for case, values in values_files(name).items():
            yield name, case, objects(render(name, values=values))
    yield "deploy", "operator.yaml", objects((ROOT / "deploy/operator.yaml").read_text())


class Objects(unittest.TestCase):
    def test_kubernetes_knows_every_object_and_each_of_its_fields(self):
        judged = 0
        for name, case, found in rendered():
            for each in found:
                if each["apiVersion"].startswith(OURS):
                    continue
                for release in RELEASES:
                    with self.subTest(chart=name, values=case, kind=each["kind"], kubernetes=release):
                        # An older schema is taken where one is missing.
                        self.assertEqual(kubernetes_validate.validate(each, release, strict=True), release)
                        judged += 1
        self.assertGreater(judged, 50)

    def test_a_field_that_kubernetes_does_not_know_is_found(self):
        deployment = one(objects(render(OPERATOR)), "Deployment")
        deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
        for release in RELEASES:
            with self.assertRaises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(deployment, release, strict=True)

    def test_objects_say_whose_they_are_and_none_is_there_twice(self):
        for name, case, found in rendered():
            seen = set()
            for each in found:
                metadata = each["metadata"]
                key = (each["kind"], metadata.get("namespace"), metadata["name"])
                with self.subTest(chart=name, values=case, object=key):
                    self.assertNotIn(key, seen)
                    seen.add(key)
                    if each["kind"] != "Namespace" and not metadata["name"].endswith("-extra"):
                        self.assertIn("app.kubernetes.io/instance", metadata["labels"])

    def test_pods_meet_the_restricted_standard(self):
        pods = 0
        for name, case, found in rendered():
            for each in found:
                template = {"Deployment": lambda each: each["spec"]["template"], "Pod": lambda each: each}.get(each["kind"])
                if template is None:
                    continue
                pods += 1
                with self.subTest(chart=name, values=case, object=each["metadata"]["name"]):
                    self.restricted(template(each)["spec"])
        self.assertGreater(pods, 4)

    def restricted(self, pod):
        """https://kubernetes.io/docs/concepts/security/pod-security-standards, and a fixed user and a root that cannot be written."""
        of_pod = pod["securityContext"]
        self.assertIs(of_pod["runAsNonRoot"], True)
        self.assertEqual((of_pod["runAsUser"], of_pod["runAsGroup"]), (65532, 65532))
        self.assertEqual(of_pod["seccompProfile"], {"type": "RuntimeDefault"})
        for forbidden in ("hostNetwork", "hostPID", "hostIPC", "volumes"):
            self.assertNotIn(forbidden, pod)
        for container in pod["containers"]:
            context = container["securityContext"]
            self.assertIs(context["allowPrivilegeEscalation"], False)
            self.assertIs(context["readOnlyRootFilesystem"], True)
            self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
            self.assertNotIn("privileged", context)

    def test_the_definition_is_the_generated_one(self):
        committed = yaml.safe_load((ROOT / "crds/chatclusters.yaml").read_text())
        for keep in ("true", "false"):
            found = one(objects(render(OPERATOR, "--set", f"crds.keep={keep}")), "CustomResourceDefinition")
            annotations = found["metadata"].pop("annotations", {})
            self.assertEqual(annotations, {"helm.sh/resource-policy": "keep"} if keep == "true" else {})
            self.assertEqual(found["metadata"].pop("labels")["app.kubernetes.io/name"], OPERATOR)
            self.assertEqual(found, committed)

    def test_versions_are_those_of_the_release(self):
        release = re.search(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE).group(1)
        for name in (OPERATOR, CHATCLUSTER):
            about = yaml.safe_load((ROOT / "charts" / name / "Chart.yaml").read_text())
            self.assertEqual((about["version"], about["appVersion"]), (release, release))
        container = one(objects(render(OPERATOR)), "Deployment")["spec"]["template"]["spec"]["containers"][0]
        self.assertEqual(container["image"], f"chatcluster-operator:{release}")
        variables = {each["name"]: each.get("value") for each in container["env"]}
        self.assertEqual(variables["CHATCLUSTER_SERVER_IMAGE"], f"chatcluster-server:{release}")
        self.assertIn(f'default_value = "{variables["CHATCLUSTER_NATS_IMAGE"]}"', (ROOT / "operator/src/args.rs").read_text())

    def test_the_operator_knows_every_variable_that_it_is_given(self):
        flags = set(re.findall(r'env = "(CHATCLUSTER_\w+)"', (ROOT / "operator/src/args.rs").read_text()))
        for name, case, found in rendered():
            for each in found:
                if each["kind"] != "Deployment":
                    continue
                given = {each["name"] for each in each["spec"]["template"]["spec"]["containers"][0]["env"]}
                with self.subTest(chart=name, values=case):
                    # The name of the pod is the host's, and the address is the one that probes ask.
                    self.assertLessEqual(given, flags)
                    left = flags - given - {"CHATCLUSTER_WATCH_NAMESPACE"}
                    self.assertEqual(left, {"CHATCLUSTER_IDENTITY", "CHATCLUSTER_LISTEN"})


if __name__ == "__main__":
    unittest.main()
