"""What one connection may say after what it has said: it stays with one worker, which does not go back, whatever others do."""

from __future__ import annotations

from .clusters import Life


class Connections:
    """Answers have to come about in the order in which they were given."""

    def __init__(self) -> None:
        self._configurations: dict[int, int] = {}
        self._taken: dict[tuple[int, str], float] = {}
        """Until when a connection had taken tokens of a key."""
        self._refused: dict[tuple[int, str], float] = {}
        """When it was first asked for one that it has refused since the key was removed."""

    def configuration(self, connection: int, number: int) -> str | None:
        """What is wrong with an answer by that configuration."""
        before = self._configurations.setdefault(connection, number)
        return None if before == number else f"by configuration {number}, and this connection was under {before} before"

    def took(self, connection: int, kid: str, begin: float, end: float) -> str | None:
        """What is wrong with taking a token of that key."""
        if self._refused.get((connection, kid), end) < begin:
            return "its key was removed, and this connection has refused it since"
        self._taken[connection, kid] = end
        return None

    def refused(self, connection: int, kid: str, life: Life | None, begin: float, end: float) -> str | None:
        """What is wrong with refusing one, for its key."""
        if life is None:
            return None
        if life.end < begin:
            self._refused.setdefault((connection, kid), end)
        elif life.end > end and self._taken.get((connection, kid), begin) < begin:
            return "its key is published, and this connection has taken it before"
        return None
