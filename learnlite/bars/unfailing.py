"""A display that may lose its terminal in the midst of a training, which goes on without it."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from learnlite.bars.protocol import Display, Points


class Unfailing:
    """Another display, until it fails: then nothing more is shown, and that is said once.

    A terminal is closed, the reader of a pipe ends, the disk of a log is full, a front end is gone.

    >>> from learnlite.bars import Lines
    >>> display = Unfailing(Lines())
    >>> display.row([0, 0.25])
    0           0.250000
    """

    def __init__(self, display: Display) -> None:
        self._display = display
        self.live = display.live

    def start(self, names: Sequence[str], n_epoch: int) -> None:
        self._try(self._display.start, names, n_epoch)

    def step(self, epoch: int, part: str, done: int, total: int, comment: str = "") -> None:
        self._try(self._display.step, epoch, part, done, total, comment)

    def row(self, values: Sequence[Any]) -> None:
        self._try(self._display.row, values)

    def write(self, words: str) -> None:
        self._try(self._display.write, words)

    def graph(self, lines: Mapping[str, Points]) -> None:
        self._try(self._display.graph, lines)

    def close(self, *, interrupted: bool = False) -> None:
        self._try(lambda: self._display.close(interrupted=interrupted))

    def _try(self, show: Callable[..., None], *args: Any) -> None:
        try:
            show(*args)
        except Exception as error:
            with suppress(Exception):  # it has lines and handlers to give back
                self._display.close()
            self._display = _Nothing()
            _tell(error)


class _Nothing:
    """Where nothing can be shown."""

    live = False

    def start(self, names: Sequence[str], n_epoch: int) -> None:
        pass

    def step(self, epoch: int, part: str, done: int, total: int, comment: str = "") -> None:
        pass

    def row(self, values: Sequence[Any]) -> None:
        pass

    def write(self, words: str) -> None:
        pass

    def graph(self, lines: Mapping[str, Points]) -> None:
        pass

    def close(self, *, interrupted: bool = False) -> None:
        pass


def say_if_possible(words: str) -> None:
    """Print a line; where nobody can read it, that is said once.

    >>> say_if_possible("half of it is done")
    half of it is done
    """
    try:
        print(words, flush=True)
    except (OSError, ValueError) as error:
        _tell(error)


def _tell(error: Exception) -> None:
    with suppress(OSError, ValueError):  # standard error may be gone with it
        warnings.warn(
            f"progress cannot be shown any more ({error or type(error).__name__}); "
            "the work goes on without",
            RuntimeWarning,
            stacklevel=2,
        )
