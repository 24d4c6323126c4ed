"""Splitters by share: drawn by chance, drawn from each class, cut off at the end."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias, cast

import numpy as np

from learnlite.data.strata import allot, check_one_each, class_codes, drawn_order, places
from learnlite.data.tables import each_of
from learnlite.data.wording import named, short

Split: TypeAlias = tuple[list[int], list[int]]


@dataclass(frozen=True)
class RandomSplitter:
    """A share of the items, drawn by chance, validates: `int(valid_pct * n)`, but at least one.

    The same `seed` splits the same way on every machine and with every version of torch. Without it
    one is drawn from torch's global generator.

    >>> train, valid = RandomSplitter(0.2, seed=42)(range(10))
    >>> len(train), len(valid), sorted(train + valid) == list(range(10))
    (8, 2, True)
    """

    valid_pct: float = 0.2
    seed: int | None = None

    def __post_init__(self) -> None:
        _check_share("valid_pct", self.valid_pct)

    def __call__(self, items: Any) -> Split:
        order = drawn_order(len(items), self.seed)
        n_valid = _cut(len(items), self.valid_pct)
        return order[n_valid:].tolist(), order[:n_valid].tolist()


@dataclass(frozen=True)
class TrainTestSplitter:
    """As scikit-learn's `train_test_split`: shares or counts, and with `stratify` by class.

    `stratify` is the label of each item, or a function that gives it; then each class has its share
    of both sets, to within one item. A class of one item is trained on. If `train_size` is given
    too, the rest of the items is left out.

    >>> cats = [i % 4 == 0 for i in range(100)]
    >>> train, valid = TrainTestSplitter(0.2, random_state=1, stratify=cats)(range(100))
    >>> len(valid), sum(cats[i] for i in valid)
    (20, 5)
    """

    test_size: float | int | None = 0.2
    random_state: int | None = None
    stratify: Sequence[Any] | Callable[[Any], Any] | None = field(default=None, repr=False)
    train_size: float | int | None = None
    shuffle: bool = True

    def __post_init__(self) -> None:
        if self.stratify is not None and not self.shuffle:
            raise ValueError(
                "`stratify` draws from each class, which `shuffle=False` forbids; "
                "leave one of the two out"
            )
        for name in ("test_size", "train_size"):
            size = getattr(self, name)
            if size is not None and (isinstance(size, float) or size < 1):
                _check_share(name, size)
        sizes = (self.test_size, self.train_size)
        if all(isinstance(size, float) for size in sizes) and sum(cast(Any, sizes)) > 1 + 1e-9:
            raise ValueError(
                f"`test_size={self.test_size}` and `train_size={self.train_size}` are more than "
                "the whole; make one smaller, or None to give it the rest"
            )

    def __call__(self, items: Any) -> Split:
        n = len(items)
        n_train, n_valid = self._counts(n)
        if not self.shuffle:
            return list(range(n_train)), list(range(n_train, n_train + n_valid))
        order = drawn_order(n, self.random_state)
        if self.stratify is None:
            return order[n_valid : n_valid + n_train].tolist(), order[:n_valid].tolist()
        labels: Any = self.stratify
        if callable(labels):
            labels = [labels(item) for item in each_of(items)]
        check_one_each("stratify", labels, n)
        classes = class_codes(labels)[order]
        sizes = np.bincount(classes)
        valid = allot(sizes, n_valid, sizes - 1)
        if valid.sum() < n_valid:
            raise ValueError(
                f"`stratify` has {len(sizes):,} classes, {named(dict.fromkeys(labels), 3)}, and "
                f"each needs an item to train on: that leaves {n - len(sizes):,} of {n:,} items "
                f"for validation, but {n_valid:,} are asked for; leave `stratify` out"
            )
        train = allot(sizes, n_train, sizes - valid)
        place = places(classes)
        in_train = (place >= valid[classes]) & (place < (valid + train)[classes])
        return order[in_train].tolist(), order[place < valid[classes]].tolist()

    def _counts(self, n: int) -> tuple[int, int]:
        _check_two(n)
        test, train = self.test_size, self.train_size
        if test is None and train is None:
            test = 0.25  # as in scikit-learn
        n_test = math.ceil(test * n) if isinstance(test, float) else test
        n_train = int(train * n) if isinstance(train, float) else train
        n_test = n - cast(int, n_train) if n_test is None else n_test
        n_train = n - n_test if n_train is None else n_train
        if n_train < 1 or n_test < 1 or n_train + n_test > n:
            raise ValueError(
                f"`test_size={test}` and `train_size={train}` of {n:,} items are {n_test:,} and "
                f"{n_train:,}; both sets need at least one, together at most all"
            )
        return n_train, n_test


@dataclass(frozen=True)
class EndSplitter:
    """The last items validate (or the first): for items in the order of time.

    >>> EndSplitter(0.25)(range(8))
    ([0, 1, 2, 3, 4, 5], [6, 7])
    """

    valid_pct: float = 0.2
    valid_last: bool = True

    def __post_init__(self) -> None:
        _check_share("valid_pct", self.valid_pct)

    def __call__(self, items: Any) -> Split:
        n_valid = _cut(len(items), self.valid_pct)
        cut = len(items) - n_valid if self.valid_last else n_valid
        first, last = list(range(cut)), list(range(cut, len(items)))
        return (first, last) if self.valid_last else (last, first)


@dataclass(frozen=True)
class RandomSubsetSplitter:
    """A part to train on and a part to validate, drawn by chance; the rest is left out.

    >>> [len(part) for part in RandomSubsetSplitter(0.3, 0.1, seed=42)(range(100))]
    [30, 10]
    """

    train_sz: float
    valid_sz: float
    seed: int | None = None

    def __post_init__(self) -> None:
        _check_share("train_sz", self.train_sz)
        _check_share("valid_sz", self.valid_sz)
        if self.train_sz + self.valid_sz > 1 + 1e-9:
            raise ValueError(
                f"`train_sz={self.train_sz}` and `valid_sz={self.valid_sz}` are more than the "
                "whole; make one smaller"
            )

    def __call__(self, items: Any) -> Split:
        n_train, n_valid = _cut(len(items), self.train_sz), _cut(len(items), self.valid_sz)
        order = drawn_order(len(items), self.seed)
        return order[:n_train].tolist(), order[n_train : n_train + n_valid].tolist()


@dataclass(frozen=True)
class NoSplitter:
    """All items are trained on, and there is no validation.

    >>> NoSplitter()("abc")
    ([0, 1, 2], [])
    """

    def __call__(self, items: Any) -> Split:
        return list(range(len(items))), []


def _check_share(name: str, share: Any) -> None:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        percent = isinstance(share, int | float) and 1 < share < 100
        advice = f"; write {share / 100:g} for {share} %" if percent else ""
        if isinstance(share, int | float) and share == 0 and name == "valid_pct":
            advice = "; give `NoSplitter()` to train without validation"
        raise ValueError(f"`{name}` must be a share between 0 and 1, got {short(share)}{advice}")


def _check_two(n: int) -> None:
    if n < 2:
        what = "only one item" if n else "no item"
        raise ValueError(f"there is {what} to split in two; look at what `get_items` finds")


def _cut(n: int, share: float) -> int:
    """How many items the share is: rounded down as in fastai, but never none, and never all."""
    _check_two(n)
    return min(max(int(share * n), 1), n - 1)
