"""Labels: from a path, from a file's name, from a row of a table."""

import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from torch import Tensor

from learnlite.data.tables import Row, cell, read_csv, rows_of, safe_join
from learnlite.data.wording import quoted, short

__all__ = [
    "ColReader",
    "RegexLabeller",
    "Row",
    "is_missing",
    "parent_label",
    "plain",
    "read_csv",
    "rows_of",
    "safe_join",
    "using_attr",
]


def parent_label(path: str | PurePath) -> str:
    """The name of the folder that the file lies in.

    >>> parent_label("train/ants/0013035.jpg")
    'ants'
    """
    label = (path if isinstance(path, PurePath) else Path(path)).parent.name
    if not label:
        raise ValueError(f"{quoted(path)} lies in no folder that could name its class")
    return label


class RegexLabeller:
    r"""What the first group of `pat` finds in the path, written with `/` on every system.

    `match` wants the pattern at the beginning of the path; without it, anywhere.

    >>> RegexLabeller(r"/([^/]+)_\d+.jpg$")("images/great_pyrenees_173.jpg")
    'great_pyrenees'
    """

    def __init__(self, pat: str | re.Pattern[str], match: bool = False) -> None:
        try:
            self.pat = re.compile(pat)
        except re.error as error:
            raise ValueError(f"the pattern `{pat}` is no regular expression: {error}") from None
        self.match = match
        if not self.pat.groups:
            raise ValueError(
                f"the pattern `{self.pat.pattern}` has no group to take the label from; "
                "put the part that is the label in parentheses"
            )

    def __call__(self, path: str | PurePath) -> str:
        text = str(path).replace(os.sep, "/")
        found = self.pat.match(text) if self.match else self.pat.search(text)
        if found is None or found[1] is None:
            where = "at the beginning of" if self.match else "anywhere in"
            raise ValueError(
                f"the pattern `{self.pat.pattern}` finds no label {where} {quoted(text)}; change "
                "the pattern, or leave the file out of the items"
            )
        return found[1]

    def __repr__(self) -> str:
        return f"RegexLabeller({self.pat.pattern!r}{', match=True' if self.match else ''})"


def using_attr(func: Callable[[Any], Any], attr: str) -> Callable[[Any], Any]:
    r"""`func` of an item's attribute `attr` instead of the item; a string counts as a path.

    >>> using_attr(RegexLabeller(r"^(.*)_\d+"), "name")("images/great_pyrenees_173.jpg")
    'great_pyrenees'
    """
    return _UsingAttr(func, attr)


class _UsingAttr:
    def __init__(self, func: Callable[[Any], Any], attr: str) -> None:
        self.func = func
        self.attr = attr

    def __call__(self, item: Any) -> Any:
        return self.func(getattr(Path(item) if isinstance(item, str) else item, self.attr))

    def __repr__(self) -> str:
        name: str = getattr(self.func, "__name__", None) or repr(self.func)
        return f"using_attr({name}, {self.attr!r})"


class ColReader:
    """What a row has in column `cols` (a name, or a position), between `pref` and `suff`.

    Several `cols` give a list. An empty cell is None, as pandas has it, so a missing label; with
    `label_delim`, by which text is split, it is an empty list. If `pref` is a folder (a `Path`, or
    text that ends with `/`), the result is the path of a file in it, see `safe_join`.

    >>> row = Row(fname="1", labels="cat dog")
    >>> ColReader("fname", pref="photos/", suff=".jpg")(row), ColReader(1, label_delim=" ")(row)
    ('photos/1.jpg', ['cat', 'dog'])
    """

    def __init__(
        self,
        cols: str | int | Sequence[str | int],
        pref: str | PurePath = "",
        suff: str = "",
        label_delim: str | None = None,
    ) -> None:
        self.cols: list[str | int] = [cols] if isinstance(cols, str | int) else list(cols)
        self.pref = pref
        self.suff = suff
        self.label_delim = label_delim
        if not self.cols:
            raise ValueError("`cols` names no column")
        if label_delim == "":
            raise ValueError("`label_delim` is empty; leave it out to read the cell as it is")

    def __call__(self, row: Any) -> Any:
        if len(self.cols) == 1:
            return self._read(row, self.cols[0])
        return [self._read(row, col) for col in self.cols]

    def _read(self, row: Any, col: str | int) -> Any:
        value = cell(row, col)
        if self.label_delim is not None:
            return [] if is_missing(value) or value == "" else str(value).split(self.label_delim)
        if not self.suff and self.pref == "":
            return None if isinstance(value, str) and not value else value
        if is_missing(value) or value == "":
            raise ValueError(
                f"column {quoted(col)} is empty in the row {short(row)}; "
                "fill it, or leave the row out"
            )
        text = f"{value}{self.suff}"
        if isinstance(self.pref, PurePath) or self.pref.endswith(("/", os.sep)):
            return str(safe_join(self.pref, text))
        return f"{self.pref}{text}"

    def __repr__(self) -> str:
        cols = self.cols[0] if len(self.cols) == 1 else self.cols
        settings = [
            repr(cols),
            f"pref={str(self.pref)!r}" if self.pref != "" else "",
            f"suff={self.suff!r}" if self.suff else "",
            "" if self.label_delim is None else f"label_delim={self.label_delim!r}",
        ]
        return f"ColReader({', '.join(part for part in settings if part)})"


def plain(label: Any) -> Any:
    """The label as Python has it: scalars of numpy and torch become int, float, str or bool.

    >>> plain(np.int64(3)), plain(np.str_("cat"))
    (3, 'cat')
    """
    if isinstance(label, np.generic) or (isinstance(label, Tensor | np.ndarray) and not label.ndim):
        return label.item()
    return label


def is_missing(label: Any) -> bool:
    """Whether there is no label: None, NaN, or what pandas writes for them.

    >>> is_missing(None), is_missing(float("nan")), is_missing("")
    (True, True, False)
    """
    if isinstance(label, float | np.floating):
        return math.isnan(label)
    return label is None or type(label).__name__ in ("NAType", "NaTType")
