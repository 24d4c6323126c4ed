"""Which classes there are, in which order, and what is wrong with the labels of a data set."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from learnlite.data.labels import is_missing, plain
from learnlite.data.tables import is_pandas
from learnlite.data.warn import warn
from learnlite.data.wording import did_you_mean, named, quoted, short

NA = "#na#"
"""The class of what has no label, or one that is not known."""

_WAY_OUT = (
    "train on such items too, name all classes by `vocab`, or let `add_na=True` count the unknown "
    f"as `{NA}`"
)
_MISSING = f"fill it, leave such items out, or let `add_na=True` count it as `{NA}`"


class Vocab(tuple[Any, ...]):
    """The classes, each in the place of its number, and `o2i`, the way back; equal to such a list.

    Several numbers, in a tensor, an array or a list, give the list of their classes; so does a mask
    of as many truth values as there are classes.

    >>> vocab = Vocab(["ants", "bees"])
    >>> vocab[1], vocab.o2i["bees"], vocab == ["ants", "bees"]
    ('bees', 1, True)
    >>> vocab[Tensor([1, 0, 1]).long()], vocab[[False, True]]
    (['bees', 'ants', 'bees'], ['bees'])
    """

    o2i: dict[Any, int]

    def __new__(cls, classes: Iterable[Any]) -> Self:
        _check_not_text(classes)
        vocab = super().__new__(cls, map(plain, classes))
        vocab.o2i = {label: i for i, label in enumerate(vocab)}
        if len(vocab.o2i) < len(vocab):
            twice = [label for label, n in Counter(vocab).items() if n > 1]
            raise ValueError(f"the vocabulary has {named(twice)} more than once")
        return vocab

    def __eq__(self, other: object) -> bool:
        return isinstance(other, list | tuple) and tuple(self) == tuple(other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = tuple.__hash__

    def __getitem__(self, i: Any) -> Any:
        if isinstance(i, Tensor | np.ndarray) and i.ndim:
            i = i.tolist()
        if not isinstance(i, list | tuple):
            return super().__getitem__(i)
        given: list[Any] = list(i)
        if given and all(isinstance(one, bool) for one in given):
            if len(given) != len(self):
                raise IndexError(
                    f"a mask of {len(given)} truth values chooses from {len(self)} classes; give "
                    "one for each"
                )
            return [label for label, chosen in zip(self, given, strict=True) if chosen]
        return [self[one] for one in given]

    def __repr__(self) -> str:
        return repr(list(self))

    @classmethod
    def of(
        cls,
        labels: Iterable[Any] | NDArray[Any] | Tensor,
        *,
        sort: bool = True,
        add_na: bool = False,
    ) -> Self:
        """The distinct labels: sorted, numbers before text, or in the order they come in.

        Missing ones (None, NaN) are left out. A categorical column of pandas has its own order.

        >>> Vocab.of(["dog", "cat", "dog", None], add_na=True)
        ['#na#', 'cat', 'dog']
        """
        _check_not_text(labels)
        categories = _categories(labels)
        classes = list(counted(labels if categories is None else categories))
        classes = [label for label in classes if label is not None and label != NA]
        if sort and categories is None:
            try:
                classes.sort(key=lambda label: (_kind(label), label))
            except TypeError:  # a type without an order
                classes.sort(key=lambda label: (_kind(label), str(label)))
        return cls([NA, *classes] if add_na else classes)

    @classmethod
    def found(cls, labels: Any, *, sort: bool = True, add_na: bool = False) -> Self:
        """The distinct labels of a training set, with a warning if they are of several types."""
        vocab = cls.of(labels, sort=sort, add_na=add_na)
        kinds = {_kind(label): label for label in vocab if label != NA}
        if len(kinds) > 1:
            told = " and ".join(
                f"{quoted(repr(label))} (`{type(label).__name__}`)" for label in kinds.values()
            )
            warn(
                f"the labels are of several types, as {told}: what looks the same may be two "
                "classes; make them one type"
            )
        return vocab

    def place(self, label: Any, item: Any = None, *, add_na: bool = False) -> int:
        """The number of the class; an unknown one is an error, or with `add_na` that of `#na#`."""
        label = plain(label)
        try:
            if label in self.o2i:
                return self.o2i[label]
        except TypeError:
            raise TypeError(not_one(label, item)) from None
        if add_na:
            return self.o2i[NA]
        of_item = "" if item is None else f" of {quoted(str(item))}"
        if is_missing(label):
            raise ValueError(f"the label{of_item} is missing ({label}); {_MISSING}")
        raise ValueError(f"the label `{label!r}`{of_item} {self.lacks(label)}")

    def label(self, i: Any) -> Any:
        """The class of the number `i`."""
        if not 0 <= int(i) < len(self):
            raise ValueError(f"there are {len(self)} classes, counted from 0: none is {int(i)}")
        return self[int(i)]

    def lacks(self, label: Any) -> str:
        """The end of a sentence: that `label` is no class, which are, and what can be done."""
        hint = did_you_mean(label, self)
        for known in self:
            if str(known) == str(label) and type(known) is not type(label):
                kinds = type(known).__name__, type(label).__name__
                hint = f"; there it is a `{kinds[0]}`, the label is a `{kinds[1]}`"
        return f"is not among the {len(self)} classes {named(map(repr, self))}{hint}; {_WAY_OUT}"


@dataclass(frozen=True)
class Labelled:
    """The labels of a training or validation set, flattened, and how to name its items.

    `of` is for each label the index of its item, if that is not its own.
    """

    labels: Sequence[Any]
    which: str  # "training" or "validation"
    items: Any = None
    of: Sequence[int] | None = None

    def check(self, vocab: Vocab, *, add_na: bool) -> None:
        """Raise for missing and unknown labels, warn of classes without an item."""
        counts = self.counts()
        n_missing = counts.pop(None, 0)
        unknown = [label for label in counts if label not in vocab.o2i]
        if n_missing and not add_na:
            raise ValueError(
                f"{n_missing:,} of the {self.which} set's labels are missing (None or NaN), "
                f"the first in item {self._first(None)}; {_MISSING}"
            )
        if NA in unknown and not add_na:
            raise ValueError(
                f"the {self.which} set has the label `{NA}` (in item {self._first(NA)}), by which "
                "what has no label is called; rename the class, or let `add_na=True` count it so"
            )
        if unknown and not add_na:
            label = unknown[0]
            others = f" (as {len(unknown) - 1:,} others)" if len(unknown) > 1 else ""
            times = "" if counts[label] == 1 else f"{counts[label]:,} times, first "
            raise ValueError(
                f"the {self.which} set has the label `{label!r}` ({times}in item "
                f"{self._first(label)}), which{others} {vocab.lacks(label)}"
            )
        if n_unknown := sum(counts[label] for label in unknown):
            warn(
                f"{n_unknown:,} of the {self.which} set's labels count as `{NA}`: "
                f"{named(map(repr, unknown))}"
            )
        lacking = [label for label in vocab if label not in counts and label != NA]
        if lacking:
            result = "cannot be learned" if self.which == "training" else "is not validated"
            warn(
                f"no item of the {self.which} set is of class {named(lacking)}, which so {result}; "
                "look at the split, and at how labels are read"
            )

    def counts(self) -> Counter[Any]:
        """How often each label is there; None are the missing ones."""
        try:
            return counted(self.labels)
        except TypeError:
            kinds = (list, set, dict, np.ndarray, Tensor)
            i = next((i for i, one in enumerate(self.labels) if isinstance(one, kinds)), 0)
            raise TypeError(not_one(self.labels[i], self._item(i))) from None

    def _first(self, label: Any) -> str:
        same = (is_missing(one) if label is None else plain(one) == label for one in self.labels)
        return self._item(next(i for i, found in enumerate(same) if found))

    def _item(self, i: int) -> str:
        i = i if self.of is None else self.of[i]
        return str(i) if self.items is None else f"{i}, {quoted(str(self.items[i]))}"


def counted(labels: Iterable[Any] | NDArray[Any] | Tensor) -> Counter[Any]:
    """How often each label is there, as plain Python has it; None are the missing ones.

    >>> counted(np.array([3, 7, 3]))
    Counter({3: 2, 7: 1})
    """
    if isinstance(labels, Tensor | np.ndarray):
        labels = labels.tolist()
    counts: Counter[Any] = Counter()
    for label, n in Counter(labels).items():
        if isinstance(label, Tensor) and label.ndim:  # has a hash, but is not one label
            raise TypeError(not_one(label))
        counts[None if is_missing(label) else plain(label)] += n
    return counts


def not_one(label: Any, item: Any = None) -> str:
    """The sentence for a label that cannot be one class."""
    of_item = "" if item is None else f" of item {item}"
    return (
        f"the label {short(label)}{of_item} is a `{type(label).__name__}`, not one class; "
        "several classes an item are for `MultiCategorize` or `MultiCategoryBlock`, numbers for "
        "`RegressionSetup` or `RegressionBlock`"
    )


def _check_not_text(classes: Any) -> None:
    if isinstance(classes, str | bytes):  # which would fall into its letters
        raise TypeError(f"a vocabulary is a list of classes, got {classes!r}; give [{classes!r}]")
    if not isinstance(classes, Iterable):
        raise TypeError(f"a vocabulary is a list of classes, got {short(classes)}")


def _kind(label: Any) -> str:
    """Numbers compare with each other; `""` stands before the name of any other type."""
    return "" if isinstance(label, int | float) else type(label).__name__


def _categories(labels: Any) -> list[Any] | None:
    if not is_pandas(labels, "Series") or str(labels.dtype) != "category":
        return None
    return labels.cat.categories.tolist()
