"""Values that cannot work are refused before anything is installed, with the name of the value."""

import json
import unittest

import yaml

from charts import CHATCLUSTER, KUBERNETES, OPERATOR, ROOT, chart, helm, objects, one, render

# Chart, what is set, and what the refusal must say.
REFUSED = [
    (OPERATOR, "replica=2", "replica"),
    (OPERATOR, "replicas=two", "/replicas"),
    (OPERATOR, "replicas=-1", "/replicas"),
    (OPERATOR, "crds.keeep=true", "keeep"),
    (OPERATOR, "crds.enabled=maybe", "/crds/enabled"),
    (OPERATOR, "watchNamespace=Team", "/watchNamespace"),
    (OPERATOR, "watchNamespaces=team", "watchNamespaces"),
    (OPERATOR, "image.tag=:latest", "/image/tag"),
    (OPERATOR, "image.digest=0123", "/image/digest"),
    (OPERATOR, "image.registry=example.com", "registry"),
    (OPERATOR, "image.pullPolicy=Sometimes", "/image/pullPolicy"),
    (OPERATOR, "serverImage.repository=", "/serverImage/repository"),
    (OPERATOR, "natsImage.tag=", "/natsImage/tag"),
    (OPERATOR, "imagePullSecrets[0]=registry", "/imagePullSecrets/0"),
    (OPERATOR, "operator.logLevel=verbose", "/operator/logLevel"),
    (OPERATOR, "operator.leaseSeconds=4", "/operator/leaseSeconds"),
    (OPERATOR, "operator.resyncSeconds=9", "/operator/resyncSeconds"),
    (OPERATOR, "operator.concurrency=257", "/operator/concurrency"),
    (OPERATOR, "rbac.cluster=true", "cluster"),
    (OPERATOR, "resources.limit.memory=1Gi", "limit"),
    (OPERATOR, "tolerations[0].keys=x", "keys"),
    (OPERATOR, "networkPolicy.apiServerPorts[0]=0", "/networkPolicy/apiServerPorts/0"),
    (OPERATOR, "networkPolicy.metricsFrom[0].namespace=monitoring", "namespace"),
    (OPERATOR, "podLabels.number=1", "/podLabels/number"),
    (OPERATOR, "extraObjects[0].kind=ConfigMap", "/extraObjects/0"),
    (CHATCLUSTER, "replicas=3", "replicas"),
    (CHATCLUSTER, "name=Chat", "/name"),
    (CHATCLUSTER, "spec.replica=3", "replica"),
    (CHATCLUSTER, "spec.replicas=0", "/spec/replicas"),
    (CHATCLUSTER, "spec.nats.url=nats://x:4222", "url"),
    (CHATCLUSTER, "spec.nats.mode=Elsewhere", "/spec/nats/mode"),
    (CHATCLUSTER, "spec.nats=External", "/spec/nats"),
    (CHATCLUSTER, "spec.ingress.controller=Ngnix", "/spec/ingress/controller"),
    (CHATCLUSTER, "spec.ingress.hosts=chat.example.com", "hosts"),
    (CHATCLUSTER, "spec.server.pingIntervalMilliseconds=1.5", "/spec/server/pingIntervalMilliseconds"),
    (CHATCLUSTER, "spec.image.tagg=1", "tagg"),
]


class Schemas(unittest.TestCase):
    def test_a_wrong_value_is_refused_by_its_name(self):
        for name, value, words in REFUSED:
            with self.subTest(chart=name, value=value):
                done = helm("template", "release", chart(name), "--kube-version", KUBERNETES, "--set", value)
                self.assertNotEqual(done.returncode, 0, "it was taken")
                path, _, last = words.rpartition("/")
                expected = f"'{words}'" if path or words.startswith("/") else f"'{last}'"
                self.assertIn(expected, done.stderr)

    def test_every_value_that_there_is_has_a_schema_and_a_comment(self):
        for name in (OPERATOR, CHATCLUSTER):
            text = (ROOT / "charts" / name / "values.yaml").read_text()
            schema = json.loads((ROOT / "charts" / name / "values.schema.json").read_text())
            self.assertFalse(schema["additionalProperties"])
            values = yaml.safe_load(text)
            self.assertLessEqual(set(values), set(schema["properties"]))
            lines = text.splitlines()
            for value in values:
                at = next(index for index, line in enumerate(lines) if line.startswith(f"{value}:"))
                below = lines[at + 1].strip() if at + 1 < len(lines) else ""
                self.assertTrue(lines[at - 1].startswith("#") or below.startswith("#"), f"{name}: {value} is not explained")

    def test_an_older_kubernetes_is_refused(self):
        for name in (OPERATOR, CHATCLUSTER):
            done = helm("template", "release", chart(name), "--kube-version", "1.32.9")
            self.assertIn(">=1.33.0-0", done.stderr)

    def test_the_spec_of_each_example_can_be_given_as_values(self):
        for example in ("minimal", "managed", "full"):
            text = (ROOT / f"examples/chatcluster-{example}.yaml").read_text()
            wanted = yaml.safe_load(text)
            # The chart's own defaults lie below what is given.
            arguments = ["--set-json", f"spec={json.dumps(wanted['spec'])}"]
            found = one(objects(render(CHATCLUSTER, *arguments)), "ChatCluster")
            self.assertEqual(found["spec"], wanted["spec"])


if __name__ == "__main__":
    unittest.main()
