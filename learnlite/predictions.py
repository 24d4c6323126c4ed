"""Predictions as a table, and as a CSV file."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from learnlite.data.wording import did_you_mean, quoted

_SHOWN = 10  # rows
_WIDTH = 40  # letters of a cell


class PredictionTable:
    """Columns of one length: `table["prediction"]` is a list, and a new one can be set.

    `pandas.DataFrame(table.columns)` makes a DataFrame of it.

    >>> table = PredictionTable({"item": ["1.jpg", "2.jpg"], "prediction": ["cat", "dog"]})
    >>> table["id"] = [Path(item).stem for item in table["item"]]
    >>> print(table.to_csv(columns=["id", "prediction"]))
    id,prediction
    1,cat
    2,dog
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]]) -> None:
        self.columns: dict[str, list[Any]] = {}
        for name, values in columns.items():
            self[name] = values

    def __getitem__(self, name: str) -> list[Any]:
        self._check([name])
        return self.columns[name]

    def __setitem__(self, name: str, values: Sequence[Any]) -> None:
        others = [len(column) for key, column in self.columns.items() if key != name]
        if others and len(values) != others[0]:
            raise ValueError(
                f"column {quoted(name)} has {len(values):,} values, but there are "
                f"{others[0]:,} rows"
            )
        self.columns[name] = list(values)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values()), ()))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """The rows, each as a dict."""
        names = list(self.columns)
        return (
            dict(zip(names, row, strict=True)) for row in zip(*self.columns.values(), strict=True)
        )

    def to_csv(
        self, path: str | Path | None = None, columns: Sequence[str] | Mapping[str, str] = ()
    ) -> Any:
        """Write all columns to a file, or those named; gives its path, or the text without one.

        A dict of `columns` says under which names: `{"item": "id", "prediction": "label"}`. Several
        values of a cell stand with spaces between. Text that a spreadsheet would take for a formula
        (it begins with `=`, `+`, `-` or `@`) gets a `'` before it.
        """
        chosen = list(columns) or list(self.columns)
        self._check(chosen)
        names = [columns[name] if isinstance(columns, Mapping) else name for name in chosen]
        lines = io.StringIO()
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(map(harmless, names))
        for row in zip(*[self.columns[name] for name in chosen], strict=True):
            writer.writerow([harmless(_cell(value)) for value in row])
        if path is None:
            return lines.getvalue().removesuffix("\n")
        Path(path).write_text(lines.getvalue(), encoding="utf-8", newline="")
        return Path(path)

    def _check(self, names: Sequence[str]) -> None:
        for name in names:
            if name not in self.columns:
                raise KeyError(
                    f"there is no column {quoted(name)}{did_you_mean(name, list(self.columns))}"
                )

    def __repr__(self) -> str:
        cells = [
            [name, *(_brief(value) for value in values[:_SHOWN])]
            for name, values in self.columns.items()
        ]
        widths = [max(map(len, column)) for column in cells]
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in zip(*cells, strict=True)
        ]
        more = len(self) - _SHOWN
        return "\n".join([*lines, f"… and {more:,} more"] if more > 0 else lines)


def harmless(value: Any) -> Any:
    """A cell that no spreadsheet runs: text that would begin a formula gets a `'` before it.

    >>> harmless("=1+1"), harmless("cat"), harmless("-1.5"), harmless(-1.5)
    ("'=1+1", 'cat', '-1.5', -1.5)
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("=", "+", "-", "@", "|")):
        return f"'{value}" if isinstance(value, str) and value[:1] in ("\t", "\r", "\n") else value
    return value if _is_number(value) else f"'{value}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return " ".join(str(part) for part in value)
    return value


def _brief(value: Any) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(_cell(value))
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= _WIDTH else f"…{text[1 - _WIDTH :]}"
