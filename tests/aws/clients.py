"""The unmodified clients of AWS, in surroundings of their own: no credential, setting or cache of this machine counts."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

SECONDS = 60.0


def surroundings(home: Path, *more: Mapping[str, str]) -> dict[str, str]:
    """The whole environment of a client whose home is `home`."""
    environment = {
        # `aws` is installed beside the Python that runs the tests.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(home),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
        "AWS_PAGER": "",
    }
    for each in more:
        environment.update(each)
    return environment


def aws(arguments: str | list[str], *environments: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """One command of the CLI, with a home of its own: credentials that an earlier one kept have no part in it."""
    words = arguments.split() if isinstance(arguments, str) else arguments
    with tempfile.TemporaryDirectory() as home:
        return subprocess.run(
            ["aws", *words], env=surroundings(Path(home), *environments), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=SECONDS,
        )
