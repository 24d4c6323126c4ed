"""Writing down how training went, for after it."""

import csv
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from learnlite.callback import Callback
from learnlite.events import Order


class CSVLogger(Callback):
    """Writes the recorder's table to a file, a row an epoch, flushed so that a kill loses none.

    `fname` is relative to the learner's path. With `append` a later fit goes on in the same file,
    whose columns must be the same.
    """

    order = Order.REPORT

    def __init__(self, fname: str | Path = "history.csv", append: bool = False) -> None:
        self.fname = fname
        self.append = append

    @property
    def path(self) -> Path:
        """The file."""
        return Path(self.learn.path) / self.fname

    @contextmanager
    def around_fit(self) -> Generator[None]:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a" if self.append else "w", newline="") as self._file:
            yield

    def before_fit(self) -> None:
        names = self.learn.recorder.metric_names
        there = _header(self.path) if self.append else None
        if there is None:
            self._write(names)
        elif there != names:
            raise ValueError(
                f"{self.path} has the columns {', '.join(there)}, but this fit records "
                f"{', '.join(names)}; give another `fname`, or `append=False` to begin anew"
            )

    def after_epoch(self) -> None:
        self._write(self.learn.recorder.log)

    def read_log(self) -> list[dict[str, str]]:
        """The rows of the file."""
        with self.path.open(newline="") as file:
            return list(csv.DictReader(file))

    def _write(self, values: list[Any]) -> None:
        file: TextIO = self._file
        csv.writer(file).writerow([_safe(value) for value in values])
        file.flush()


def _header(path: Path) -> list[str] | None:
    with path.open(newline="") as file:
        return next(csv.reader(file), None)


def _safe(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
