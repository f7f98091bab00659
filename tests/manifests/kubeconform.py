"""kubeconform, with schemas of this machine alone."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from harness import installed
from variants import KUBERNETES

TEMPLATE = "{{.Group}}/{{.ResourceKind}}_{{.ResourceAPIVersion}}.json"


@dataclass(frozen=True)
class Findings:
    checked: int
    wrong: tuple[str, ...]
    """One line for each object that does not fit, or has no schema."""


def check(schemas: tuple[str, ...], *paths: Path, text: str | None = None) -> Findings:
    """Checks files, directories or a text against Kubernetes' schemas and the named ones."""
    locations = [word for name in (KUBERNETES, *schemas) for word in ("-schema-location", f"{installed.package_schemas() / name}/{TEMPLATE}")]
    command = [str(installed.package_tool("kubeconform")), "-strict", "-output", "json", "-verbose", "-n", "2", *locations, *map(str, paths)]
    answer = subprocess.run(command, input=text, capture_output=True, text=True, timeout=120)
    assert answer.stdout, answer.stderr
    resources = json.loads(answer.stdout)["resources"]
    # A document without an object, such as a template that makes none, has no status.
    wrong = [each for each in resources if each["status"] not in ("statusValid", "")]
    assert (answer.returncode == 0) == (not wrong), answer.stdout
    return Findings(sum(1 for each in resources if each["status"]), tuple(f"{Path(each['filename']).name}: {each['kind']} {each['name']}: {each['msg']}" for each in wrong))
