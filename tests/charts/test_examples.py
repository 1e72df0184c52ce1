"""Manifests that people copy, and the places that must say the same."""

import re
import textwrap
import unittest

import kubernetes_validate
import yaml

from charts import CHATCLUSTER, OPERATOR, ROOT, chart, helm, objects, one, render

MINIMAL = (ROOT / "examples/chatcluster-minimal.yaml").read_text()


def text(path):
    """A file of the tree."""
    return (ROOT / path).read_text()


class Examples(unittest.TestCase):
    def test_kubernetes_knows_every_field_of_the_examples(self):
        for name in ("nats", "kind-port"):
            for each in objects(text(f"examples/{name}.yaml")):
                for release in ("1.33", "1.37"):
                    with self.subTest(example=name, kind=each["kind"], kubernetes=release):
                        self.assertEqual(kubernetes_validate.validate(each, release, strict=True), release)

    def test_the_six_lines_are_the_same_everywhere(self):
        self.assertEqual(len(MINIMAL.splitlines()), 6)
        self.assertIn(f"```yaml\n{MINIMAL}```\n", text("README.md"))
        notes = helm("install", "x", chart(OPERATOR), "--dry-run=client").stdout
        self.assertIn(textwrap.indent(MINIMAL, "  "), notes)
        self.assertEqual(one(objects(render(CHATCLUSTER)), "ChatCluster")["spec"], yaml.safe_load(MINIMAL)["spec"])

    def test_the_examples_nats_is_where_it_says_and_set_up_as_the_documents_ask(self):
        manifest = text("examples/nats.yaml")
        service = one(objects(manifest), "Service")
        about, port = service["metadata"], service["spec"]["ports"][0]["port"]
        self.assertIn(f"urls: [nats://{about['name']}.{about['namespace']}.svc:{port}]", manifest.splitlines()[0])
        config = one(objects(manifest), "ConfigMap")["data"]["nats.conf"]
        for line in re.search(r"```text\n(.*?)```", text("docs/operations.md"), re.DOTALL).group(1).splitlines():
            self.assertIn(line, config)

    def test_kind_leads_to_the_example(self):
        service = one(objects(text("examples/kind-port.yaml")), "Service")["spec"]
        self.assertEqual(service["selector"]["app.kubernetes.io/instance"], yaml.safe_load(MINIMAL)["metadata"]["name"])
        nodes = yaml.safe_load(text("kind-config.yaml"))["nodes"]
        self.assertEqual([node["role"] for node in nodes], ["control-plane"] + ["worker"] * 3)
        self.assertEqual(nodes[0]["extraPortMappings"][0]["containerPort"], service["ports"][0]["nodePort"])

    def test_commands_of_the_documents_name_values_that_exist(self):
        page = text("docs/operations.md")
        cases = re.findall(r"helm install \S+ charts/(\S+) (.*?)\n(?:```|helm)", page, re.DOTALL)
        self.assertGreater(len(cases), 2)
        for name, rest in cases:
            arguments = re.findall(r"--set ('[^']*'|\S+)", rest)
            quoted = [argument.replace("'", "") for argument in arguments]
            with self.subTest(chart=name, values=quoted):
                self.assertGreater(len(quoted), 0)
                render(name, *(word for argument in quoted for word in ("--set", argument)))


if __name__ == "__main__":
    unittest.main()
