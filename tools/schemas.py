"""The schemas that the packages are checked against: Kubernetes' own, and those of the custom resources of other projects."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import List, Tuple

import cache
import peers
from cache import REPOSITORY, SetupError

RECIPE = peers.RECIPES / "package-schemas"
MODULES = "jwt-reissuer.example/schemas/"
KUBERNETES = "kubernetes"
# Where the modules of each project have their custom resource definitions: the first of these that exists.
CRDS = {
    "istio": ("kubernetes/customresourcedefinitions.gen.yaml",),
    "gateway-api": ("config/crd/standard",),
    # With the Gateway API's, as that version brings them.
    "envoy-gateway": ("charts/gateway-helm/charts/crds/crds", "charts/gateway-helm/crds"),
    "external-secrets": ("deploy/crds/bundle.yaml",),
    "sealed-secrets": ("helm/sealed-secrets/crds",),
    "cert-manager": ("deploy/crds",),
}
PROGRAM = REPOSITORY / "tools" / "json_schemas.py"


def names() -> List[str]:
    """Such as istio-1.32: what tests/peers/package-schemas/go.mod requires."""
    return re.findall(rf"^\t{re.escape(MODULES)}(\S+) v0", (RECIPE / "go.mod").read_text(), re.MULTILINE)


def directory() -> Path:
    """A directory of JSON schemas for each of `names`, with its custom resource definitions in `crds.yaml`."""
    return cache.root() / f"package-schemas-{_key()}"


def _key() -> str:
    parts = ["package-schemas 1", *(part for name, places in CRDS.items() for part in (name, *places))]
    return cache.recipe_hash(parts, [RECIPE / "go.mod", RECIPE / "go.sum", PROGRAM])


def install() -> Path:
    peers.install_python()

    def build(into: Path) -> None:
        go, env = peers.find_go(RECIPE)
        log = into / "setup.log"
        modules = [MODULES + name for name in names()]
        # With the go.sum beside it, a module that was changed after it was published is refused.
        cache.run([go, "mod", "download", *modules], what="modules with schemas", log=log, cwd=RECIPE, env=env)
        for name, module in zip(names(), modules):
            found = subprocess.run([go, "list", "-m", "-f", "{{.Dir}}", module], cwd=RECIPE, env=env, capture_output=True, text=True)
            kind, source = _source(name, Path(found.stdout.strip()))
            command = [str(peers.python_executable()), str(PROGRAM), str(into), kind, name, str(source)]
            cache.run(command, what=f"schemas of {name}", log=log)

    return cache.install("package-schemas", _key(), build)


def _source(name: str, module: Path) -> Tuple[str, Path]:
    if name == KUBERNETES:
        return "openapi", module / "api" / "openapi-spec" / "swagger.json"
    places = CRDS[re.sub(r"-[\d.]+$", "", name)]
    found = [module / place for place in places if (module / place).exists()]
    if not found:
        raise SetupError(f"{name} has no custom resource definitions in {' or '.join(places)}")
    return "crds", found[0]
