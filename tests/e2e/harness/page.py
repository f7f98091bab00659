"""The fenced blocks of a page of the documentation."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]+)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """What stands between two fences. The words after the language say where it runs, and how it is to be refused."""

    language: str
    words: tuple[str, ...]
    text: str


def blocks(page: Path) -> list[Block]:
    found = []
    for fence in _FENCE.finditer(page.read_text()):
        language, *words = fence["info"].split()
        found.append(Block(language, tuple(words), textwrap.dedent(fence["text"]).strip()))
    return found


def heredoc(text: str, after: str) -> str:
    """The document that follows the line which has `after` in it, up to its EOF."""
    found = re.search(re.escape(after) + r"[^\n]*<<-?EOF\n(.*?)^\s*EOF$", text, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no document after {after}"
    return found[1]


def only(page: Path, language: str, *words: str) -> str:
    """The text of the page's only block with this after its fence."""
    (found,) = [each.text for each in blocks(page) if (each.language, each.words) == (language, words)]
    return found
