"""Writing down how training went, for after it."""

import csv
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from learnlite.callback import Callback
from learnlite.events import Order


class CSVLogger(Callback):
    """Writes the recorder's table to a file, a row an epoch, flushed so that a kill loses none.

    `fname` is relative to the learner's path. With `append` a later fit goes on in the same file,
    whose columns must be the same; without, it begins anew.

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

    order = Order.REPORT

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
        # Opened only here: a fit that other callbacks refuse leaves the file as it was.
        names = [_safe(name) for name in self.learn.recorder.metric_names]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        there = _header(self.path) if self.append else None
        if there and there != names:
            raise ValueError(
                f"{self.path} has the columns {', '.join(there)}, but this fit records "
                f"{', '.join(names)}; give another `fname`, or `append=False` to begin anew"
            )
        self._file = self.path.open("a" if self.append else "w", newline="", encoding="utf-8")
        if not there:
            self._write(names)
        elif not self.path.read_bytes().endswith(b"\n"):
            self._file.write("\n")  # the last row was cut off, by a kill or a full disk

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


def _header(path: Path) -> list[str]:
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def _safe(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front."""
    formula = isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r")
    return f"'{value}" if formula else value
