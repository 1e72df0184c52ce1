"""What the charts render, as a whole: a difference is shown and read before it is kept (GOLDENS=write make test-charts)."""

import difflib
import os
import subprocess
import unittest

from charts import CHATCLUSTER, HERE, OPERATOR, ROOT, chart, helm, render, values_files


class Goldens(unittest.TestCase):
    def compare(self, golden, text):
        if os.environ.get("GOLDENS") == "write":
            golden.parent.mkdir(parents=True, exist_ok=True)
            golden.write_text(text)
        self.assertTrue(golden.exists(), f"{golden} is missing: GOLDENS=write make test-charts writes it")
        before = golden.read_text()
        lines = difflib.unified_diff(before.splitlines(), text.splitlines(), str(golden), "rendered", lineterm="")
        self.assertEqual(before, text, "\n" + "\n".join(lines))

    def test_each_chart_renders_what_its_goldens_say(self):
        for name in (OPERATOR, CHATCLUSTER):
            folder = HERE / "goldens" / ("operator" if name == OPERATOR else name)
            files = values_files(name)
            for case, values in files.items():
                with self.subTest(chart=name, values=case):
                    self.compare(folder / f"{case}.yaml", render(name, values=values))
            self.assertEqual({golden.stem for golden in folder.glob("*.yaml")}, set(files), "a golden without values")

    def test_the_plain_manifests_are_the_rendered_chart(self):
        made = subprocess.run([ROOT / "scripts/manifests.sh"], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(made.returncode, 0, made.stderr)
        committed = (ROOT / "deploy/operator.yaml").read_text()
        self.assertTrue(committed == made.stdout, "deploy/operator.yaml is not what the chart says: run make generate")

    def test_helm_finds_nothing_to_complain_of(self):
        for name in (OPERATOR, CHATCLUSTER):
            for case, values in values_files(name).items():
                files = [] if values is None else ["--values", str(values)]
                with self.subTest(chart=name, values=case):
                    done = helm("lint", "--strict", chart(name), *files)
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
