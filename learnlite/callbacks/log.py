"""Writing down how training went, for after it."""

import csv
import itertools
import os
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from learnlite.callback import Callback
from learnlite.events import Order
from learnlite.optim import what_trains
from learnlite.types import counted


class _Row(NamedTuple):
    """A row of the file."""

    cells: list[str]
    end: int  # in bytes from the file's begin
    whole: bool  # has its line end


class CSVLogger(Callback):
    """Writes the recorder's table to a file, a row an epoch, flushed so that a kill loses none.

    `fname` is relative to the learner's path. With `append` a later fit goes on in the same file,
    whose columns must be the same; without, it begins anew (`fine_tune` is two fits: append there
    to keep both); `trained` adds a column that tells whether only the head was trained or all
    layers. A fit that is resumed goes on below the rows of the epochs that are done. A full
    disk, or a folder that is gone, ends no fit: rows wait until they can be written.

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

    optional = True

    _file: TextIO | None = None
    _known: tuple[int, int] | None = None
    _end = 0
    _n_written = 0
    _begun = _warned = False

    def __init__(
        self, fname: str | Path = "history.csv", append: bool = False, *, trained: bool = False
    ) -> None:
        self.fname = fname
        self.append = append
        self.trained = trained

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.learn.path) / self.fname

    @contextmanager
    def around_fit(self) -> Generator[None]:
        try:
            yield
        finally:
            self._close()

    def before_fit(self) -> None:
        # Opened only here, and not yet changed: a fit that is refused leaves the file as it was.
        learn = self.learn
        self._names = [_safe(name) for name in learn.recorder.metric_names]
        self._more = [what_trains(learn.model, learn.layer_groups)] if self.trained else []
        self._names += ["trained"] * self.trained
        self._begun = self._warned = False
        try:
            self._open()
        except OSError as error:
            raise OSError(
                f"`CSVLogger` cannot write to {self.path} ({error.strerror or error}); give the "
                "learner another `path`, or it another `fname`"
            ) from error
        if self.append:
            self._check(self._table())

    def state_dict(self) -> dict[str, Any]:
        """How many lines there are, once a fit has begun."""
        if self._file is None:
            return {}
        if self._begun:
            return {"lines": len(self._rows)}
        return {"lines": len(self._table()) if self.append else 0}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """In a fit that is resumed: drop the rows of epochs that come again, keep all others."""
        if self._file is None or self._begun:
            return
        table = self._table()
        self._check(table)
        if "lines" in state:
            self._begin(table[: state["lines"]])
            return
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
        if table and not table[-1].whole:
            file.write("\n")  # the last row was cut off, by a kill or a full disk
        self._begun = True
        self._rows: list[Sequence[Any]] = [row.cells for row in table]
        self._n_written = len(table)
        if not table:
            self._write(self._names)
        else:
            file.flush()
            self._know(file)

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
        if self._begun:
            self._write([*self.learn.recorder.log, *self._more])

    def after_fit(self) -> None:
        if self._begun and self._n_written < len(self._rows):
            self._write()
            missing = len(self._rows) - self._n_written
            if missing:
                warnings.warn(
                    f"{self.path} lacks the last {counted(missing, 'row')} of this fit; they are "
                    "in `learn.recorder` (`learn.recorder.to_csv(…)` writes its table)",
                    RuntimeWarning,
                    stacklevel=2,
                )

    def read_log(self) -> list[dict[str, str]]:
        """The rows of the file."""
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _write(self, *rows: Sequence[Any]) -> None:
        """Write these rows, and those that could not be written before."""
        self._rows += rows
        try:
            file = self._ready()
            for row in self._rows[self._n_written :]:
                csv.writer(file, lineterminator="\n").writerow([_safe(v) for v in row])
            file.flush()
            self._know(file)
        except OSError as error:
            self._close()
            self._warn(
                f"`CSVLogger` cannot write to {self.path} ({error.strerror or error}); training "
                "goes on, and the rows wait until it can"
            )
        else:
            self._n_written = len(self._rows)

    def _ready(self) -> TextIO:
        """The file, opened again if it was lost: what is whole in it stays."""
        file = self._file
        if file is not None and self._is_there(os.fstat(file.fileno())):
            return file
        self._close()
        file = self._open()
        now = os.fstat(file.fileno())
        # A new file may have got the number of the one that was removed; but it is empty.
        if (now.st_dev, now.st_ino) == self._known and now.st_size >= self._end > 0:
            file.truncate(self._end)
        elif now.st_size:
            raise OSError("another file has come in its place")
        else:
            self._n_written = 0
            self._warn(
                f"{self.path} was taken away in the midst of the fit; `CSVLogger` writes it anew"
            )
        return file

    def _is_there(self, ours: os.stat_result) -> bool:
        try:
            return os.path.samestat(ours, self.path.stat())
        except FileNotFoundError:
            return False

    def _know(self, file: TextIO) -> None:
        """Remember the file, and how much of it is whole."""
        now = os.fstat(file.fileno())
        self._known, self._end = (now.st_dev, now.st_ino), now.st_size

    def _open(self) -> TextIO:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("a", newline="", encoding="utf-8")
        return self._file

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):  # what it still holds is kept here, too
                file.close()

    def _warn(self, text: str) -> None:
        if not self._warned:
            self._warned = True
            warnings.warn(text, RuntimeWarning, stacklevel=2)


def _epoch(row: _Row) -> int:
    """The epoch of a row; -1 where there is none, as in what another has written."""
    return int(row.cells[0]) if row.cells and row.cells[0].isdecimal() else -1


def _safe(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front."""
    formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if formula else value
