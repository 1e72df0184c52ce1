"""What the tests of the charts stand on: helm, which renders them, and the objects that come of it."""

import functools
import os
import subprocess
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
OPERATOR = "chatcluster-operator"
CHATCLUSTER = "chatcluster"
NAMESPACES = {OPERATOR: "chatcluster-system", CHATCLUSTER: "team"}
# What a chart may say it was rendered for; it stands in no object.
KUBERNETES = "1.33.0"
# Seconds that helm may take: it reads files.
PATIENCE = 60


def helm(*arguments):
    """Runs helm; an error is the caller's business."""
    program = os.environ.get("CHATCLUSTER_HELM", str(ROOT / ".tools/bin/helm"))
    if not Path(program).exists():
        raise FileNotFoundError(f"{program} is not there: `make helm` builds it, or CHATCLUSTER_HELM names another one")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=PATIENCE, check=False)


def chart(name):
    """The folder of a chart."""
    return str(ROOT / "charts" / name)


def values_files(name):
    """The values that a chart is rendered with, by their name; 'default' are its own."""
    folder = HERE / "values" / ("operator" if name == OPERATOR else name)
    return {"default": None} | {file.stem: file for file in sorted(folder.glob("*.yaml"))}


@functools.cache
def render(name, *arguments, values=None):
    """What `helm template` prints; it must not fail."""
    files = [] if values is None else ["--values", str(values)]
    done = helm(
        "template", name, chart(name), "--namespace", NAMESPACES[name], "--kube-version", KUBERNETES, *files, *arguments
    )
    if done.returncode != 0:
        raise AssertionError(f"helm template {name}: {done.stderr}")
    return done.stdout


def objects(text):
    """The objects of a stream of YAML."""
    return [found for found in yaml.safe_load_all(text) if found]


def one(found, kind, name=None):
    """The only object of a kind, or of a kind and a name."""
    all_of_it = [each for each in found if each["kind"] == kind and name in (None, each["metadata"]["name"])]
    if len(all_of_it) != 1:
        raise AssertionError(f"{len(all_of_it)} objects of kind {kind} named {name or 'anything'}, not one")
    return all_of_it[0]
