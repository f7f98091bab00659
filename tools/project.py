"""Facts of the project: its version, licence and the commit that is checked out."""

from __future__ import annotations

import datetime
import functools
import json
import os
import re
import subprocess
from dataclasses import dataclass
from typing import Any, Dict, List, Optional

from cache import REPOSITORY, SetupError

EPOCH = "SOURCE_DATE_EPOCH"
CHANGELOG = REPOSITORY / "CHANGELOG.md"


@dataclass(frozen=True)
class Source:
    """The source of a build: the same source has the same two values on every machine."""

    revision: Optional[str]
    """The commit, with `-dirty` behind it where files differ from it; None outside of a clone."""
    seconds: int
    """$SOURCE_DATE_EPOCH, else the commit's time, else 0: seconds since 1970."""

    @property
    def created(self) -> str:
        """The time in RFC 3339."""
        return datetime.datetime.fromtimestamp(self.seconds, datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


@functools.lru_cache(maxsize=None)
def packages() -> Dict[str, Any]:
    """The workspace's packages by name, as cargo describes them."""
    command = ["cargo", "metadata", "--format-version=1", "--no-deps", "--locked", "--offline"]
    answer = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    if answer.returncode != 0:
        raise SetupError(f"{' '.join(command)}: {answer.stderr}")
    return {package["name"]: package for package in json.loads(answer.stdout)["packages"]}


def version() -> str:
    return str(packages()["jwt-reissuer"]["version"])


def source() -> Source:
    revision = _git("rev-parse", "HEAD")
    if revision and _git("status", "--porcelain", "--untracked-files=no"):
        revision += "-dirty"
    seconds = os.environ.get(EPOCH) or _git("log", "-1", "--format=%ct") or "0"
    if not seconds.isdigit():
        raise SetupError(f"{EPOCH} is {seconds!r}: it must be seconds since 1970")
    return Source(revision or None, int(seconds))


def is_on_main(revision: str) -> bool:
    """Whether a commit is main or one of its ancestors: main of the remote, where the clone has one."""
    main = next((ref for ref in ("refs/remotes/origin/main", "refs/heads/main") if _git("rev-parse", "--verify", "--quiet", ref)), None)
    if main is None:
        return False
    return subprocess.run(["git", "merge-base", "--is-ancestor", revision, main], cwd=REPOSITORY, capture_output=True).returncode == 0


def notes(of: str) -> str:
    """The section of a version in CHANGELOG.md, without its heading."""
    sections: List[str] = re.split(r"^## ", CHANGELOG.read_text(), flags=re.MULTILINE)
    for section in sections[1:]:
        heading, _, body = section.partition("\n")
        if heading.strip() == of:
            return body.strip() + "\n"
    raise SetupError(f"CHANGELOG.md has no section '## {of}'")


def _git(*arguments: str) -> str:
    """The output of git, or nothing where this is no clone."""
    answer = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True)
    return answer.stdout.strip() if answer.returncode == 0 else ""
