"""Every way in which the chart is rendered for a check, and the schemas that its objects have to fit."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

import packages

Object = dict[str, Any]
KUBERNETES = "kubernetes"
# Names of the schemas of package-schemas: each row is a platform as an operator has it, with the Gateway API of that time.
PLATFORMS: dict[str, tuple[tuple[str, ...], ...]] = {
    KUBERNETES: ((),),
    "istio": (("istio-1.30", "gateway-api-1.4"), ("istio-1.31", "gateway-api-1.5"), ("istio-1.32", "gateway-api-1.6")),
    # It brings the Gateway API's schemas itself.
    "envoy-gateway": (("envoy-gateway-1.7",), ("envoy-gateway-1.8",), ("envoy-gateway-1.9",)),
}


@dataclass(frozen=True)
class Variant:
    """Values of the chart. `str` of it is the name."""

    name: str
    platform: str
    values: dict[str, Any] = field(hash=False)
    namespace: str = "jwt-reissuer"

    def __str__(self) -> str:
        return self.name

    def render(self, *options: str) -> str:
        return packages.render(self.namespace, self.values, *options)

    def objects(self, *options: str) -> list[Object]:
        return [each for each in yaml.safe_load_all(self.render(*options)) if each]


def _of_base(base: packages.Base) -> Variant:
    platform = KUBERNETES if base.directory.name == "kubernetes" else base.directory.name
    return Variant(f"base-{base.directory.name}", platform, dict(base.values), base.namespace)


VARIANTS = [
    *(Variant(**each) for each in yaml.safe_load((Path(__file__).parent / "variants.yaml").read_text())),
    *map(_of_base, packages.BASES),
]


def named(name: str) -> Variant:
    (found,) = [each for each in VARIANTS if each.name == name]
    return found


def of_platform(platform: str) -> list[Variant]:
    return [each for each in VARIANTS if each.platform == platform]


def only(objects: list[Object], kind: str, suffix: str = "") -> Object:
    """The only object of a kind whose name ends like this."""
    (found,) = [each for each in objects if each["kind"] == kind and each["metadata"]["name"].endswith(suffix)]
    return found
