"""Predictions as a table, and as a CSV file."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import torch
from torch import Tensor

from learnlite.data import DataLoaders
from learnlite.data.single import row_of
from learnlite.data.wording import did_you_mean, quoted
from learnlite.types import is_number

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


def table_of(
    dl: Any,
    dls: DataLoaders,
    preds: Any,
    targs: Any,
    decoded: Any,
    *,
    sure: bool,
    with_classes: bool,
) -> PredictionTable:
    """The table of what `get_preds` gave for `dl`; `sure` says that predictions are probabilities.

    >>> preds, targs = torch.tensor([[0.9, 0.1]]), torch.tensor([0])
    >>> dls = DataLoaders([(preds, targs)], device="cpu", vocab=["no", "yes"])
    >>> table_of([], dls, preds, targs, targs, sure=True, with_classes=False).columns
    {'item': [0], 'target': ['no'], 'prediction': ['no'], 'probability': [0.89...]}
    """
    labels = [_plain(label) for label in dls.decode_preds(decoded)]
    if any(isinstance(label, Tensor | dict) for label in labels[:1]):
        raise ValueError(
            "these predictions are no cells of a table, as masks and points are not; take them "
            "from `learn.get_preds(dl=learn.dls.test_dl(items))`"
        )
    table = PredictionTable({"item": _names_of(dl, len(labels))})
    if targs is not None:
        several = isinstance(decoded, Tensor) and decoded.dtype is torch.bool
        targets = dls.decode_preds(targs > 0.5 if several else targs)
        table["target"] = [_plain(target) for target in targets]
    table["prediction"] = labels
    is_rows = isinstance(preds, Tensor) and preds.ndim == 2
    if is_rows and is_index(row_of(decoded, 0)):
        chosen = preds.gather(1, decoded.long().unsqueeze(1))[:, 0]
        table["probability" if sure else "output"] = chosen.tolist()
    if with_classes:
        names = list(dls.vocab or (range(preds.shape[1]) if is_rows else ()))
        if not is_rows or len(names) != preds.shape[1]:
            given = tuple(preds.shape) if isinstance(preds, Tensor) else type(preds).__name__
            raise ValueError(
                f"`with_classes` wants an output for each of the {len(names)} classes, and the "
                f"predictions are {given}; leave it out"
            )
        for name, column in zip(names, preds.T.tolist(), strict=True):
            table[str(name)] = column
    return table


def is_index(code: Any) -> bool:
    """Whether a decoded prediction is the number of a class.

    >>> is_index(torch.tensor(3)), is_index(torch.tensor(3.0)), is_index(torch.tensor(True))
    (True, False, False)
    """
    whole = isinstance(code, Tensor) and not code.ndim and not code.is_floating_point()
    return whole and code.dtype is not torch.bool


def _plain(label: Any) -> Any:
    """A number, or a list of some, of a tensor with at most one axis."""
    if not isinstance(label, Tensor) or label.ndim > 1:
        return label
    return label.item() if label.numel() == 1 else label.tolist()


def _names_of(dl: Any, n: int) -> list[Any]:
    """What to call the items of a loader: their files or texts, else their numbers."""
    items = getattr(getattr(dl, "dataset", None), "items", ())
    if len(items) == n and all(isinstance(item, str | PurePath) for item in items):
        return [str(item) for item in items]
    return list(range(n))


def harmless(value: Any) -> Any:
    """A cell that no spreadsheet runs: text that would begin a formula gets a `'` before it.

    >>> harmless("=1+1"), harmless("cat"), harmless("-1.5"), harmless(-1.5)
    ("'=1+1", 'cat', '-1.5', -1.5)
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("=", "+", "-", "@", "|")):
        return f"'{value}" if isinstance(value, str) and value[:1] in ("\t", "\r", "\n") else value
    return value if is_number(value) else f"'{value}"


def _cell(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return " ".join(str(part) for part in value)
    return value


def _brief(value: Any) -> str:
    text = f"{value:.4f}" if isinstance(value, float) else str(_cell(value))
    text = "".join(char if char.isprintable() else "?" for char in text)
    return text if len(text) <= _WIDTH else f"…{text[1 - _WIDTH :]}"
