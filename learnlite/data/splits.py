"""Splitters: which items are trained on, and which ones validate.

Each is called with the items and gives two lists of indices, `(train, valid)`. A function of the
user's may do the same; `checked_split` looks at what it gives.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from learnlite.data.labels import is_missing, plain
from learnlite.data.shares import (
    EndSplitter,
    NoSplitter,
    RandomSplitter,
    RandomSubsetSplitter,
    Split,
    TrainTestSplitter,
)
from learnlite.data.strata import check_one_each, subset
from learnlite.data.tables import column, each_of
from learnlite.data.warn import warn
from learnlite.data.wording import did_you_mean, named, quoted, short

__all__ = [
    "ColSplitter",
    "EndSplitter",
    "FileSplitter",
    "FuncSplitter",
    "GrandparentSplitter",
    "IndexSplitter",
    "MaskSplitter",
    "NoSplitter",
    "RandomSplitter",
    "RandomSubsetSplitter",
    "Split",
    "Splitter",
    "TrainTestSplitter",
    "checked_split",
    "subset",
]

Splitter: TypeAlias = Callable[[Any], Split]

_TRUE = ("true", "1", "1.0", "yes")
_FALSE = ("false", "0", "0.0", "no")


@dataclass(frozen=True)
class GrandparentSplitter:
    """By the name of the folder two above the file: `train/cats/1.jpg`, `valid/cats/7.jpg`.

    Both names may be several. Items in folders of other names are left out.

    >>> GrandparentSplitter(valid_name="val")(["train/a/1.jpg", "val/a/2.jpg", "test/a/3.jpg"])
    ([0], [1])
    """

    train_name: str | Sequence[str] = "train"
    valid_name: str | Sequence[str] = "valid"

    def __post_init__(self) -> None:
        if both := set(_listed(self.train_name)) & set(_listed(self.valid_name)):
            raise ValueError(f"{named(both)} is named for training and for validation")

    def __call__(self, items: Any) -> Split:
        folders = [_path(item).parent.parent.name for item in items]
        by_name: dict[str, list[int]] = {}
        for i, folder in enumerate(folders):
            by_name.setdefault(folder, []).append(i)
        found: list[list[int]] = []
        for argument, names in (("train_name", self.train_name), ("valid_name", self.valid_name)):
            names = _listed(names)
            found.append([i for name in names for i in by_name.get(name, [])])
            if not found[-1]:
                there = {
                    quoted(name) if name else "no folder": len(among)
                    for name, among in by_name.items()
                }
                raise ValueError(
                    f"no item has {' or '.join(map(quoted, names))} as the folder two above it; "
                    f"found {_counted(there)}; name the folder by `{argument}`"
                    f"{did_you_mean(names[0], by_name)}"
                )
        return found[0], found[1]


@dataclass(frozen=True)
class IndexSplitter:
    """The items of these indices validate, in this order; all others are trained on.

    >>> IndexSplitter([1, 3])(["a", "b", "c", "d"])
    ([0, 2], [1, 3])
    """

    valid_idx: Any = field(repr=False)

    def __call__(self, items: Any) -> Split:
        valid = _indices(self.valid_idx, len(items), "valid_idx")
        chosen = np.zeros(len(items), dtype=bool)
        chosen[valid] = True
        _by_truth(chosen, "`valid_idx`")  # neither set is empty
        return np.flatnonzero(~chosen).tolist(), valid.tolist()


@dataclass(frozen=True)
class MaskSplitter:
    """The items whose place in `mask` is true validate.

    >>> MaskSplitter([False, True, False])("abc")
    ([0, 2], [1])
    """

    mask: Any = field(repr=False)

    def __call__(self, items: Any) -> Split:
        check_one_each("mask", self.mask, len(items))
        return _by_truth(_truths(self.mask, "`mask`", "give True or False"), "`mask`")


@dataclass(frozen=True)
class FuncSplitter:
    """The items for which `func` is true validate.

    >>> FuncSplitter(str.isupper)(["a", "B", "c"])
    ([0, 2], [1])
    """

    func: Callable[[Any], Any]

    def __call__(self, items: Any) -> Split:
        return _by_truth([self._validates(item) for item in each_of(items)], "`func`")

    def _validates(self, item: Any) -> bool:
        try:
            return bool(self.func(item))
        except Exception as error:
            error.add_note(f"while splitting by {self.func}: the item is {short(item)}")
            raise


@dataclass(frozen=True)
class FileSplitter:
    """The items whose file names stand in the text file `fname`, one a line, validate.

    A line may have folders in front of the name: then the item has to lie in them.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     fname = Path(folder) / "valid.txt"
    ...     _ = fname.write_text("2.jpg")
    ...     FileSplitter(fname)(["cats/1.jpg", "cats/2.jpg"])
    ([0], [1])
    """

    fname: str | Path

    def __post_init__(self) -> None:
        self._names()

    def __call__(self, items: Any) -> Split:
        names = self._names()
        depths = {name.count("/") + 1 for name in names}
        found: list[bool] = []
        seen: set[str] = set()
        for item in items:
            parts = _path(item).parts
            ends = {"/".join(parts[-depth:]) for depth in depths} & names
            found.append(bool(ends))
            seen |= ends
        if lost := sorted(names - seen):
            message = (
                f"{len(lost):,} of the {len(names):,} names in `{self.fname}` are the name of no "
                f"item: {named(lost, 3)}"
            )
            if not seen:
                raise ValueError(f"{message}; the items are such as {_item(items, 0)}")
            warn(message)
        return _by_truth(found, f"`{self.fname}`")

    def _names(self) -> set[str]:
        lines = Path(self.fname).read_text(encoding="utf-8-sig").splitlines()
        names = {line.strip().replace("\\", "/").removeprefix("./") for line in lines} - {""}
        if not names:
            raise ValueError(f"`{self.fname}` names no file; it needs one a line")
        return names


@dataclass(frozen=True)
class ColSplitter:
    """The rows validate that are true in column `col`, or have there what `on` says (or lists).

    Text such as "True", "0" or "no" is read as what it says.

    >>> rows = [{"fname": "1.jpg", "is_valid": "False"}, {"fname": "2.jpg", "is_valid": "True"}]
    >>> ColSplitter()(rows)
    ([0], [1])
    """

    col: str | int = "is_valid"
    on: Any = None

    def __call__(self, items: Any) -> Split:
        values = column(items, self.col)
        where = f"column {quoted(self.col)}"
        if self.on is None:
            way_out = "fill it, or name the values that validate by `on=`"
            return _by_truth(_truths(values, where, way_out), where)
        listed = isinstance(self.on, list | tuple | set | frozenset | range | np.ndarray)
        wanted: list[Any] = list(self.on) if listed else [self.on]
        chosen = [
            not is_missing(value) and any(plain(value) == one for one in wanted) for value in values
        ]
        if not any(chosen):
            raise ValueError(
                f"no row has {' or '.join(map(repr, wanted))} in {where}; it has "
                f"{_counted({repr(value): n for value, n in Counter(values).most_common()})}"
            )
        return _by_truth(chosen, where)


def check_splitter(splitter: Any) -> None:
    """Refuse what is not called with the items.

    >>> check_splitter(RandomSplitter)
    Traceback (most recent call last):
    ...
    TypeError: the splitter is the class `RandomSplitter`; make one of it, as `RandomSplitter(...)`
    """
    if isinstance(splitter, type):
        name = splitter.__name__
        raise TypeError(f"the splitter is the class `{name}`; make one of it, as `{name}(...)`")
    if not callable(splitter):
        raise TypeError(
            "a splitter is called with the items and gives `(train, valid)`, got "
            f"{short(splitter)}; give `RandomSplitter(0.2)` for a share, or `IndexSplitter([...])`"
        )


def checked_split(splitter: Splitter, items: Any) -> Split:
    """What `splitter` makes of the items, as lists of ints that can be trained on.

    >>> checked_split(lambda items: (range(3), np.array([3])), "abcd")
    ([0, 1, 2], [3])
    """
    n = len(items)
    if not n:
        raise ValueError("there are no items to split; look at what `get_items` finds")
    check_splitter(splitter)
    given = cast(Any, splitter(items))
    if not isinstance(given, tuple | list) or len(cast(Sequence[Any], given)) != 2:
        raise TypeError(
            f"a splitter gives two lists of indices, `(train, valid)`; `{_name(splitter)}` gave "
            f"{short(given)}"
        )
    train = _indices(given[0], n, "train").tolist()
    valid = _indices(given[1], n, "valid").tolist()
    if shared := sorted(set(train) & set(valid)):
        raise ValueError(
            f"{len(shared):,} items are in the training set and in the validation set of "
            f"`{_name(splitter)}`, the first is {_item(items, shared[0])}; an item that was "
            "trained on cannot validate"
        )
    if not isinstance(splitter, NoSplitter):
        _check_filled(train, valid, f"`{_name(splitter)}`", n)
    return train, valid


# --- checks


def _indices(values: Any, n: int, name: str) -> NDArray[np.int64]:
    given = np.asarray(
        values if isinstance(values, Tensor | np.ndarray | np.integer | int) else [*values]
    )
    array = np.atleast_1d(given)
    if array.dtype == bool:
        raise TypeError(f"`{name}` holds truth values and not indices; use `MaskSplitter`")
    if len(array) and not np.issubdtype(array.dtype, np.integer):
        raise TypeError(f"`{name}` must hold whole numbers, got {array[0]!r}")
    array = array.astype(np.int64)
    outside = array[(array < 0) | (array >= n)]
    if len(outside):
        raise ValueError(
            f"`{name}` has the index {outside[0]}, but there are {n:,} items, counted from 0"
        )
    if len(np.unique(array)) < len(array):
        index, times = Counter(array.tolist()).most_common(1)[0]
        raise ValueError(f"`{name}` has the index {index} {times} times; name it once")
    return array


def _truths(values: Any, where: str, way_out: str) -> Sequence[bool] | NDArray[Any]:
    """Each value as true or false, or an error that names the first which says neither."""
    array = np.asarray(values)
    if array.dtype == bool:
        return array
    texts: list[str] = []
    for i, value in enumerate(values):
        texts.append(str(plain(value)).strip().lower())
        if texts[-1] not in _TRUE and texts[-1] not in _FALSE:
            raise ValueError(
                f"{where} has {plain(value)!r} at {i}, neither true nor false; {way_out}"
            )
    return [text in _TRUE for text in texts]


def _by_truth(validates: Sequence[bool] | NDArray[Any], where: str) -> Split:
    found = np.asarray(validates, dtype=bool)
    train, valid = np.flatnonzero(~found).tolist(), np.flatnonzero(found).tolist()
    _check_filled(train, valid, where, len(found))
    return train, valid


def _check_filled(train: list[int], valid: list[int], where: str, n: int) -> None:
    if not train:
        raise ValueError(
            f"{where} leaves no item to train on, of {n:,}; let fewer of them validate"
        )
    if not valid:
        raise ValueError(
            f"{where} leaves no item to validate with, of {n:,}; "
            "give `NoSplitter()` to train without validation"
        )


def _path(item: Any) -> PurePath:
    if not isinstance(item, str | PurePath):
        raise TypeError(
            f"this splitter looks at the folders and names of files, but the item {short(item)} is "
            f"a `{type(item).__name__}`; split by `FuncSplitter(lambda item: ...)`"
        )
    return item if isinstance(item, PurePath) else Path(item)


def _item(items: Any, i: int) -> str:
    return f"{i}, {short(each_of(items)[i])}"


def _listed(names: str | Sequence[str]) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _counted(sizes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({n:,})" for name, n in list(sizes.items())[:10])


def _name(splitter: Any) -> str:
    named = getattr(splitter, "__name__", None)  # a function has one, our splitters a `repr`
    return repr(splitter) if named is None else named
