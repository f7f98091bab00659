"""A projected volume as a kubelet keeps it: what changes is a symbolic link, so that all its files change at once."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Mapping
from pathlib import Path

DATA = "..data"


class ProjectedVolume:
    """Its files are links to `..data/<name>`, and `..data` is a link to a directory that is named after the time."""

    def __init__(self, directory: Path, files: Mapping[str, bytes]):
        self._directory = directory
        directory.mkdir(exist_ok=True)
        self.replace(files)
        for name in files:
            (directory / name).symlink_to(f"{DATA}/{name}")

    def replace(self, files: Mapping[str, bytes]) -> None:
        """In the order of the kubelet's atomic writer: the new directory, the link to it, and then the old directory goes."""
        data, unfinished = self._directory / DATA, self._directory / f"{DATA}_tmp"
        former = data.resolve() if data.is_symlink() else None
        now = datetime.datetime.now(datetime.timezone.utc)
        current = self._directory / now.strftime("..%Y_%m_%d_%H_%M_%S.%f")
        current.mkdir()
        for name, content in files.items():
            (current / name).write_bytes(content)
        unfinished.symlink_to(current.name)
        unfinished.rename(data)
        if former is not None:
            shutil.rmtree(former)
