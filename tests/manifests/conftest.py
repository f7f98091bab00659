"""The chart as rendered for every variant, once for all checks."""

from __future__ import annotations

from pathlib import Path

import pytest

from variants import VARIANTS


@pytest.fixture(scope="session")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A file with the objects of each variant, by the variant's name."""
    directory = tmp_path_factory.mktemp("rendered")
    files = {each.name: directory / f"{each.name}.yaml" for each in VARIANTS}
    for each in VARIANTS:
        files[each.name].write_text(each.render())
    return files
