"""Writing down how training went, for after it."""

import csv
import itertools
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from learnlite.callback import Callback
from learnlite.events import Order


class _Row(NamedTuple):
    """A row of the file."""

    cells: list[str]
    end: int  # in bytes from the file's begin
    whole: bool  # has its line end


class CSVLogger(Callback):
    """Writes the recorder's table to a file, a row an epoch, flushed so that a kill loses none.

    `fname` is relative to the learner's path. With `append` a later fit goes on in the same file,
    whose columns must be the same; without, it begins anew (`fine_tune` is two fits: append there
    to keep both). A fit that is resumed goes on below the rows of the epochs that are done.

    >>> import tempfile
    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner
    >>> from learnlite.data import two_moons
    >>> dls = DataLoaders.from_tensors(*two_moons(200), bs=32)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     learn = Learner(dls, nn.Linear(2, 2), cbs=CSVLogger, path=folder)
    ...     with learn.no_logging():
    ...         learn.fit(2)
    ...     print((learn.path / "history.csv").read_text().strip())
    epoch,train_loss,valid_loss,time
    0,...
    1,...
    """

    order = Order.SAVE - 1  # before a state is saved: an epoch that is done has its row

    _file: TextIO | None = None

    def __init__(self, fname: str | Path = "history.csv", append: bool = False) -> None:
        self.fname = fname
        self.append = append

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.learn.path) / self.fname

    @contextmanager
    def around_fit(self) -> Generator[None]:
        try:
            yield
        finally:
            if self._file is not None:
                self._file.close()
                self._file = None

    def before_fit(self) -> None:
        # Opened only here, and not yet changed: a fit that is refused leaves the file as it was.
        self._names = [_safe(name) for name in self.learn.recorder.metric_names]
        self._begun = False
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.append:
            self._check(self._table())
        self._file = self.path.open("a", newline="", encoding="utf-8")

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """In a fit that is resumed: drop the rows of epochs that come again, keep all others."""
        if self._file is None or self._begun:
            return
        table = self._table()
        self._check(table)
        kept, later = len(table), inf
        while kept > 1 and self.learn.progress.epochs <= (epoch := _epoch(table[kept - 1])) < later:
            kept, later = kept - 1, epoch
        self._begin(table[:kept])

    def before_epoch(self) -> None:
        if not self._begun:  # nor resumed
            self._begin(self._table() if self.append else [])

    def _begin(self, table: list[_Row]) -> None:
        """Go on below these rows, with which the file begins."""
        file = self._file
        assert file is not None
        file.truncate(table[-1].end if table else 0)
        if not table:
            self._write(self._names)
        elif not table[-1].whole:
            file.write("\n")  # the last row was cut off, by a kill or a full disk
        self._begun = True

    def _table(self) -> list[_Row]:
        """What is in the file: the header and the rows below it."""
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            lines = file.readlines()
        ends = list(itertools.accumulate(len(line.encode()) for line in lines))
        reader = csv.reader(lines)
        return [
            _Row(cells, ends[(n := reader.line_num) - 1], lines[n - 1].endswith("\n"))
            for cells in reader
        ]

    def _check(self, table: list[_Row]) -> None:
        there = table[0].cells if table else self._names
        if there != self._names:
            raise ValueError(
                f"{self.path} has the columns {', '.join(there)}, but this fit records "
                f"{', '.join(self._names)}; give another `fname`"
                + (", or `append=False` to begin anew" if self.append else "")
            )

    def after_epoch(self) -> None:
        self._write(self.learn.recorder.log)

    def read_log(self) -> list[dict[str, str]]:
        """The rows of the file."""
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _write(self, values: Sequence[Any]) -> None:
        if self._file is not None:
            csv.writer(self._file, lineterminator="\n").writerow([_safe(v) for v in values])
            self._file.flush()


def _epoch(row: _Row) -> int:
    """The epoch of a row; -1 where there is none, as in what another has written."""
    return int(row.cells[0]) if row.cells and row.cells[0].isdecimal() else -1


def _safe(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front."""
    formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if formula else value
