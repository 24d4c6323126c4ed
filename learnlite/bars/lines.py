"""The plain display: for logs, for pipes, and for those who want no bars."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from learnlite.bars import text
from learnlite.bars.protocol import Points


class Lines:
    """The table as plain lines: the header once, and a line an epoch."""

    live = False

    def __init__(self) -> None:
        self._columns: list[int] = []

    def start(self, names: Sequence[str], n_epoch: int) -> None:
        self._columns = text.widths(names)
        if names:
            say(text.line(names, self._columns))

    def step(self, epoch: int, part: str, done: int, total: int, comment: str = "") -> None:
        pass

    def row(self, values: Sequence[Any]) -> None:
        say(text.line(values, self._columns))

    def write(self, words: str) -> None:
        say(words)

    def graph(self, lines: Mapping[str, Points]) -> None:
        pass

    def close(self, *, interrupted: bool = False) -> None:
        pass


def say(words: str) -> None:
    """Print to where `sys.stdout` goes now, whatever letters can be written there."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    print(words.encode(encoding, "replace").decode(encoding), flush=True)
