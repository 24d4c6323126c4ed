"""Draws from items by class: pure functions of a seed, the same with every version of torch."""

from collections.abc import Sequence, Sized
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from learnlite.data.labels import is_missing, plain
from learnlite.data.wording import short
from learnlite.seeds import as_seed, mix

Ints: TypeAlias = NDArray[np.int64]


def subset(
    items: Any, share_or_n: float, labels: Sequence[Any] | None = None, seed: int = 0
) -> list[int]:
    """The indices, in order, of a share (a float) or a number (an int) of the items.

    With `labels` each class has its share, to within one item. The part is the same every time,
    unless `seed` is another, so what is tried on it can be compared.

    >>> labels = ["cat"] * 80 + ["dog"] * 20
    >>> part = subset(range(100), 0.1, labels)
    >>> [labels[i] for i in part].count("dog")
    2
    """
    n = len(items)
    n_chosen = _number_of(share_or_n, n)
    order = drawn_order(n, seed)
    if labels is None:
        return sorted(order[:n_chosen].tolist())
    check_one_each("labels", labels, n)
    classes = class_codes(labels)[order]
    sizes = np.bincount(classes)
    chosen = places(classes) < allot(sizes, n_chosen, sizes)[classes]
    return sorted(order[chosen].tolist())


def drawn_order(n: int, seed: int | None) -> Ints:
    """The numbers below `n` in an order drawn from `seed`, or from torch's global generator.

    >>> sorted(drawn_order(5, seed=42).tolist()), (drawn_order(5, 42) == drawn_order(5, 42)).all()
    ([0, 1, 2, 3, 4], np.True_)
    """
    # numpy keeps the stream of a bit generator, not what it makes of it; 0.2 s for a million
    bits = np.random.PCG64(mix(as_seed(seed)))
    return np.argsort(bits.random_raw(n), kind="stable")


def class_codes(labels: Sequence[Any] | NDArray[Any] | Tensor) -> Ints:
    """For each label a number from 0 on; those without a label are a class of their own.

    >>> class_codes(["dog", "cat", "dog", None]).tolist()
    [0, 1, 0, 2]
    """
    if isinstance(labels, Tensor | np.ndarray):
        labels = labels.tolist()
    try:
        distinct = list(dict.fromkeys(labels))  # a hundred times fewer, as a rule
    except TypeError:  # several classes in a list
        labels = [_key(label) for label in labels]
        distinct = list(dict.fromkeys(labels))
    codes: dict[Any, int] = {}
    code_of = {label: codes.setdefault(_key(label), len(codes)) for label in distinct}
    return np.array([code_of[label] for label in labels], dtype=np.int64)


def places(classes: Ints) -> Ints:
    """For each item how many of its class stand before it.

    >>> places(np.array([0, 1, 0, 0])).tolist()
    [0, 0, 1, 2]
    """
    by_class = np.argsort(classes, kind="stable")
    sizes = np.bincount(classes)
    found = np.empty_like(by_class)
    found[by_class] = np.arange(len(classes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return found


def allot(sizes: Ints, n: int, limits: Ints) -> Ints:
    """How many of `n` places each class gets: in proportion to its size, to within one.

    What is left of the whole places goes first to classes that have none, then by the remainder.
    `limits` are never passed; the sum is below `n` only if they leave no room.

    >>> allot(np.array([80, 15, 5]), 10, np.array([80, 15, 5])).tolist()
    [8, 1, 1]
    """
    total = int(sizes.sum())
    given = np.minimum(sizes * n // total, limits)
    in_turn = np.lexsort((-(sizes * n % total), given > 0))
    while (left := n - int(given.sum())) and (given < limits).any():
        open_to_more = in_turn[(given < limits)[in_turn]]
        given[open_to_more[:left]] += 1
    return given


def check_one_each(name: str, values: Sized, n: int) -> None:
    """Raise, unless there are as many values as items."""
    if len(values) != n:
        raise ValueError(
            f"`{name}` has {len(values):,} values, but there are {n:,} items; "
            "give one for each, in their order"
        )


def _number_of(share_or_n: float, n: int) -> int:
    if not n:
        raise ValueError("there are no items to choose from")
    if not isinstance(share_or_n, int | float | np.integer):
        raise TypeError(
            f"a share of the items is a float, and a number of them an int, got {short(share_or_n)}"
        )
    if isinstance(share_or_n, float):
        if not 0 < share_or_n <= 1:
            raise ValueError(
                f"a share of the items is above 0 and at most 1, got {share_or_n}; "
                "write an int for a number of items"
            )
        return max(round(n * share_or_n), 1)
    if isinstance(share_or_n, bool) or not 1 <= share_or_n <= n:
        raise ValueError(f"from 1 to {n:,} items can be chosen, got {share_or_n}")
    return int(share_or_n)


def _key(label: Any) -> Any:
    """What equal labels have in common; those of several classes are a kind of their own."""
    if isinstance(label, Tensor | np.ndarray) and label.ndim:
        label = label.tolist()
    if isinstance(label, set | frozenset):
        return frozenset(label)
    if isinstance(label, list | tuple):
        return tuple(map(_key, label))
    return None if is_missing(label) else plain(label)
