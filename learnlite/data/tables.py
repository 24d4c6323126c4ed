"""Tables without pandas, or with it: rows, cells, columns, CSV files and the file names in them."""

import csv
import os
import re
import sys
from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence, ValuesView
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, cast

import numpy as np
from torch import Tensor

from learnlite.data.files import check_file
from learnlite.data.wording import did_you_mean, named, quoted, short

_ODD_NAME = re.compile(r"^[/\\]|\.\.|:|\0")  # may be absolute, or lead out of its folder


class Row(dict[str, Any]):
    """A row of a table: `row["label"]`, and `row.label` where no method of dicts has that name.

    >>> Row(fname="1.jpg", label="cat").label
    'cat'
    """

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(_no_column(name, list(self)))

    def __missing__(self, name: Any) -> Any:
        raise KeyError(_no_column(name, list(self)))


def cell(row: Any, col: str | int) -> Any:
    """What `row` has in column `col`: by its name or, for an int, by its position.

    A row is a dict, a pandas Series or a named tuple; a plain tuple or list has positions only.

    >>> cell({"fname": "1.jpg", "label": "cat"}, 1), cell({"label": "cat"}, "label")
    ('cat', 'cat')
    """
    values: Any  # what `col` indexes
    if isinstance(row, Mapping):
        row = cast(Mapping[Any, Any], row)
        names = list(row)
        values = list(row.values()) if isinstance(col, int) else row
    elif is_pandas(row, "Series"):
        names, values = list(row.index), row.iloc if isinstance(col, int) else row
    elif isinstance(row, tuple | list | np.ndarray | Tensor):
        row = cast(Any, row)
        names = list(getattr(row, "_fields", range(len(row))))
        values = dict(zip(names, row, strict=True)) if isinstance(col, str) else row
    else:
        raise TypeError(
            f"columns are read from rows of a table, got {short(row)}, a `{type(row).__name__}`; "
            "give a DataFrame, `read_csv(path)`, or dicts"
        )
    there = -len(names) <= col < len(names) if isinstance(col, int) else col in names
    if not there:
        raise ValueError(_no_column(col, names))
    return values[col]


def column(table: Any, col: str | int) -> list[Any]:
    """One column of a DataFrame, or of anything that `rows_of` takes.

    >>> column([{"label": "cat"}, {"label": "dog"}], "label")
    ['cat', 'dog']
    """
    if is_pandas(table, "DataFrame"):
        names = list(table.columns)
        if not (-len(names) <= col < len(names) if isinstance(col, int) else col in names):
            raise ValueError(_no_column(col, names))
        return (table.iloc[:, col] if isinstance(col, int) else table[col]).tolist()
    return [cell(row, col) for row in rows_of(table)]


def rows_of(table: Any) -> Sequence[Any]:
    """The rows of a DataFrame, or of a dict of columns, as `Row`s; a sequence of rows as it is.

    >>> rows_of({"fname": ["1.jpg", "2.jpg"], "label": ["cat", "dog"]})[1].label
    'dog'
    """
    if is_pandas(table, "DataFrame"):
        names: list[Any] = list(table.columns)
        columns = [cast(list[Any], table.iloc[:, i].tolist()) for i in range(len(names))]
    elif isinstance(table, Mapping):
        names = list(cast(Mapping[Any, Any], table))
        columns = [list(values) for values in cast(Mapping[Any, Any], table).values()]
        lengths = {len(values) for values in columns}
        if len(lengths) > 1:
            told = ", ".join(
                f"{quoted(name)} has {len(values):,}"
                for name, values in zip(names, columns, strict=True)
            )
            raise ValueError(f"the columns differ in length: {told}; each row needs all of them")
    elif isinstance(table, Sequence) and not isinstance(table, str):
        return cast(Sequence[Any], table)
    else:
        raise TypeError(
            f"a table is a DataFrame, a dict of columns or a list of rows, got {short(table)}; "
            "a file is read by `read_csv(path)`"
        )
    _check_names(names, "the table")
    return [Row(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def each_of(items: Any) -> Any:
    """What to iterate to have the items one by one: for a DataFrame its rows, not its columns."""
    return by_position(items) if is_pandas(items, "DataFrame", "Series") else items


def by_position(items: Any) -> Any:
    """The items so that `items[i]` is the i-th of them: the rows of a table, a list of a Series.

    >>> by_position({"fname": ["1.jpg"]})[0], by_position(iter("ab"))[1]
    ({'fname': '1.jpg'}, 'b')
    """
    if isinstance(items, dict) or is_pandas(items, "DataFrame"):
        return rows_of(items)
    if isinstance(items, Iterator | ValuesView | KeysView) or is_pandas(items, "Series", "Index"):
        return list(cast(Iterable[Any], items))
    return items


def read_csv(
    path: str | Path,
    delim: str = ",",
    *,
    header: bool | Sequence[str] = True,
    encoding: str = "utf-8-sig",
) -> list[Row]:
    r"""The rows of a text file, every value a string; for machines without pandas.

    `header` says whether the first line names the columns; or it is their names, and all lines are
    rows. Without names columns are called "0", "1" … Empty lines do not count.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "labels.csv"
    ...     _ = path.write_text("fname,label\n1.jpg,cat\n2.jpg,dog\n")
    ...     read_csv(path)[1]
    {'fname': '2.jpg', 'label': 'dog'}
    """
    path = Path(path)
    check_file(path)
    names = [] if isinstance(header, bool) else list(header)
    rows: list[Row] = []
    with path.open(newline="", encoding=encoding) as file:
        reader = csv.reader(file, delimiter=delim, strict=True)
        try:
            for values in reader:
                if not values:
                    continue
                if not names:
                    names = values if header is True else [str(i) for i in range(len(values))]
                    _check_names(names, f"`{path}`")
                    if header is True:
                        continue
                if len(values) != len(names):
                    raise ValueError(
                        f"line {reader.line_num} of `{path}` has {len(values)} values, but there "
                        f"are {len(names)} columns: {named(names)}; values with a {delim!r} in "
                        'them stand in double quotes, as "a, b"'
                    )
                rows.append(Row(zip(names, values, strict=True)))
        except csv.Error as error:
            raise ValueError(f"line {reader.line_num} of `{path}` is no CSV: {error}") from error
        except UnicodeDecodeError as error:
            raise ValueError(
                f"`{path}` is not text in {encoding} (byte {error.start} of a block); "
                "name the `encoding` it was written in"
            ) from error
    if not rows:
        raise ValueError(f"`{path}` has no rows{' but the header' if names else ''}")
    return rows


def check_names(folder: str | PurePath, names: Iterable[Any]) -> None:
    """Refuse names that `safe_join` refuses; the usual ones at 1 µs each.

    >>> check_names("photos", ["1.jpg", "../2.jpg"])
    Traceback (most recent call last):
    ...
    ValueError: the file name `../2.jpg` leads out of its folder by `..`; name files that lie in...
    """
    for name in names:
        text = str(name)
        if _ODD_NAME.search(text) or not text.strip():
            safe_join(folder, text)


def safe_join(folder: str | PurePath, name: str | PurePath) -> Path:
    """The file `name` of `folder`, if the name cannot lead out of it; links are not followed.

    Names that come from a table are joined by this: an absolute one, or one with `..`, is refused.

    >>> safe_join("photos", "cats/1.jpg").as_posix()
    'photos/cats/1.jpg'
    """
    text = str(name)
    windows = PureWindowsPath(text)
    if not text.strip():
        raise ValueError(f"the name of a file in `{folder}` is empty")
    if "\0" in text:
        raise ValueError(f"the file name {text!r} has a zero byte in it")
    if PurePosixPath(text).is_absolute() or windows.root or (windows.drive and os.name == "nt"):
        raise ValueError(
            f"the file name {quoted(text)} is absolute; write it relative to `{folder}`"
        )
    if ".." in windows.parts:  # these are split at both kinds of slash
        raise ValueError(
            f"the file name {quoted(text)} leads out of its folder by `..`; "
            f"name files that lie in `{folder}`"
        )
    return Path(folder) / text


def _no_column(col: Any, names: Sequence[Any]) -> str:
    if isinstance(col, int):
        return f"there is no column {col}: the row has {len(names)}, {named(names)}"
    return f"there is no column {quoted(col)} among {named(names)}{did_you_mean(col, names)}"


def _check_names(names: Sequence[Any], where: str) -> None:
    if len(set(names)) < len(names):
        twice = [name for i, name in enumerate(names) if name in names[:i]]
        raise ValueError(f"{where} has several columns of the name {named(twice)}; rename them")


def is_pandas(value: Any, *kinds: str) -> bool:
    """Whether it is of pandas' classes `kinds`; without its import nothing can be of pandas."""
    pandas: Any = sys.modules.get("pandas")
    return pandas is not None and isinstance(value, tuple(getattr(pandas, kind) for kind in kinds))
