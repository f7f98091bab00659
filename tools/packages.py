"""Renders the kustomize bases under envoy/ from the chart: for sites that have no Helm.

    python3 tools/packages.py write
    python3 tools/packages.py check
"""

from __future__ import annotations

import difflib
import json
import os
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Tuple

import cache
import peers
from cache import REPOSITORY

Values = Dict[str, Any]
CHART = REPOSITORY / "envoy" / "chart"
RELEASE = "jwt-reissuer"
KUBERNETES_VERSION = "1.36.3"
HEADER = "# Rendered from envoy/chart by `make packages`."
# Values that an operator replaces: the issuer with its host, the registry, the image's digest, and the issuer of the cluster's tokens.
DIGEST = "sha256:" + 64 * "0"
TO_CHANGE = ("reissuer.example.com", "registry.example.com", 64 * "0", "https://kubernetes.default.svc.cluster.local")
MARK = " # CHANGE"
# Of the objects of one file. Helm prints them in the order in which it installs.
ORDER = ("ServiceAccount", "Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy", "GatewayClass", "Gateway", "HTTPRouteFilter", "HTTPRoute")
SOURCE = re.compile(rf"^# Source: {RELEASE}/templates/(.*/)?(?P<name>[^/]+\.yaml)\n", re.MULTILINE)


@dataclass(frozen=True)
class Base:
    """A directory under envoy/ that `kubectl apply -k` takes."""

    directory: Path
    namespace: str
    values: Tuple[Tuple[str, Any], ...]


BASES = (
    Base(REPOSITORY / "envoy" / "istio", "jwt-reissuer", (("mode", "istio"), ("image", {"module": {"digest": DIGEST}}))),
    Base(
        REPOSITORY / "envoy" / "envoy-gateway", "envoy-gateway-system",
        (("mode", "envoy-gateway"), ("image", {"module": {"digest": DIGEST}})),
    ),
    Base(REPOSITORY / "envoy" / "kubernetes", "jwt-reissuer", (("mode", "envoy"), ("image", {"command": {"digest": DIGEST}}))),
)


def main(arguments: List[str]) -> int:
    if arguments not in (["write"], ["check"]):
        print(__doc__)
        return 2
    stale = [line for base in BASES for line in difference(base)]
    if arguments == ["check"]:
        print("".join(stale) or "packages: the bases are what the chart renders\n", end="")
        return 1 if stale else 0
    for base in BASES:
        for path in rendered_before(base):
            path.unlink()
        base.directory.mkdir(exist_ok=True)
        for name, text in files(base).items():
            (base.directory / name).write_text(text)
    print(f"packages: {', '.join(str(each.directory.relative_to(REPOSITORY)) for each in BASES)}")
    return 0


# --- the chart --------------------------------------------------------------------------------------------------------


def helm(*arguments: str, values: Values) -> subprocess.CompletedProcess[str]:
    """Runs helm with values, without a cluster and without settings of the user's."""
    with tempfile.TemporaryDirectory() as home:
        file = Path(home) / "values.json"
        file.write_text(json.dumps(values))
        environment = {**os.environ, "HOME": home, "HELM_NO_PLUGINS": "1", "KUBECONFIG": os.devnull}
        command = [str(peers.package_tool("helm")), *arguments, "--values", str(file), "--kube-version", KUBERNETES_VERSION]
        return subprocess.run(command, env=environment, capture_output=True, text=True)


def render(namespace: str, values: Values, *options: str, release: str = RELEASE, chart: Path = CHART) -> str:
    """The output of `helm template`. Raises SetupError with helm's words where it refuses."""
    answer = helm("template", release, str(chart), "--namespace", namespace, *options, values=values)
    if answer.returncode != 0:
        raise cache.SetupError(answer.stderr)
    return answer.stdout


def rendered(base: Base) -> str:
    """Without the pod of `helm test`."""
    return render(base.namespace, dict(base.values), "--skip-tests")


# --- the files of a base ----------------------------------------------------------------------------------------------


def files(base: Base) -> Dict[str, str]:
    """The files of a base by their names: one for each template of the chart, and kustomization.yaml."""
    documents: Dict[str, List[str]] = {}
    for document in re.split(r"^---\n", rendered(base), flags=re.MULTILINE):
        source = SOURCE.search(document)
        if source is not None:
            text = SOURCE.sub("", document).strip()
            documents.setdefault(source["name"], []).append("\n".join(marked(text.splitlines())))
    made = {}
    for name, texts in sorted(documents.items()):
        made[name] = HEADER + "\n" + "\n---\n".join(sorted(texts, key=_position)) + "\n"
    made["kustomization.yaml"] = kustomization(base, list(made))
    return made


def _position(document: str) -> int:
    kind = re.search(r"^kind: (\w+)$", document, re.MULTILINE)
    assert kind is not None, document
    return ORDER.index(kind[1]) if kind[1] in ORDER else len(ORDER)


def marked(lines: List[str]) -> List[str]:
    """With a comment beside each line that an operator changes; in a text block, beside the block's first line."""
    made: List[str] = []
    block = None
    for line in map(str.rstrip, lines):
        indent = len(line) - len(line.lstrip())
        if block is not None and line and indent <= block[1]:
            block = None
        change = not line.lstrip().startswith("#") and any(each in line for each in TO_CHANGE)
        made.append(line + MARK if change and block is None else line)
        if change and block is not None and not made[block[0]].endswith(MARK):
            made[block[0]] += MARK
        if block is None and re.search(r": [|>]-?$", line):
            block = len(made) - 1, indent
    return made


def kustomization(base: Base, resources: List[str]) -> str:
    path = base.directory.relative_to(REPOSITORY)
    return "\n".join([
        HEADER,
        "# Copy the directory, change what is marked CHANGE, and then:",
        f"#     kubectl apply --server-side -k {path}",
        f"# The namespace {base.namespace} with the Secrets has to be there. Hosts such as {RELEASE}-gateway.{base.namespace}.svc are named after it.",
        "apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization", "resources:", *(f"- {name}" for name in resources), "",
    ])


def rendered_before(base: Base) -> List[Path]:
    return [path for path in sorted(base.directory.glob("*.yaml")) if path.read_text().startswith(HEADER)]


def difference(base: Base) -> List[str]:
    """Lines of a diff from the repository's files to the rendered ones. Empty, where they are the same."""
    wanted = {base.directory / name: text for name, text in files(base).items()}
    found = {path: path.read_text() for path in {*rendered_before(base), *(path for path in wanted if path.exists())}}
    lines: List[str] = []
    for path in sorted({*wanted, *found}):
        before, after = found.get(path, "").splitlines(True), wanted.get(path, "").splitlines(True)
        lines += difflib.unified_diff(before, after, str(path.relative_to(REPOSITORY)), "what the chart renders")
    return lines


if __name__ == "__main__":
    cache.main(main)
