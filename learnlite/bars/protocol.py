"""What a display is."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeAlias

Points: TypeAlias = Sequence[tuple[float, float]]


class Display(Protocol):
    """Where a fit shows how far it has come."""

    live: bool
    """Whether `step` shows anything; if not, it need not be called, nor a loss be read for it."""

    def start(self, names: Sequence[str], n_epoch: int) -> None:
        """The columns of the table, and how many epochs there will be.

        Without names there is no table; with `n_epoch` of 0, one bar and none for the epochs.
        """
        ...

    def step(self, epoch: int, part: str, done: int, total: int, comment: str = "") -> None:
        """`done` of `total` batches of `part` ("train" or "valid") of `epoch` are done."""
        ...

    def row(self, values: Sequence[Any]) -> None:
        """The values of an epoch."""
        ...

    def write(self, words: str) -> None:
        """A line among the rows."""
        ...

    def graph(self, lines: Mapping[str, Points]) -> None:
        """Named lines of points, drawn anew; where nothing can be drawn, nothing is."""
        ...

    def close(self, *, interrupted: bool = False) -> None:
        """The fit is over, or was cut off by an error or an interrupt."""
        ...
