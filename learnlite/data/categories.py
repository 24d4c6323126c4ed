"""Labels as numbers and back: classes, sets of classes, plain numbers.

Each kind finds out what it has to know from the labels (`setup`), turns one label into what goes
into a batch (`encode`) and back (`decode`), and tells all it knows as plain data (`state`), from
which `from_state` makes it again.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from learnlite.data.labels import is_missing, plain
from learnlite.data.vocab import NA, Labelled, Vocab
from learnlite.data.warn import warn
from learnlite.data.wording import quoted, short

__all__ = [
    "Categorize",
    "EncodedMultiCategorize",
    "LabelKind",
    "MultiCategorize",
    "RegressionSetup",
    "Vocab",
    "from_state",
]


class _Classes:
    """What labels that name classes have in common."""

    add_na: bool = False
    _vocab: Vocab | None = None

    @property
    def vocab(self) -> Vocab:
        """The classes, each in the place of its number."""
        if self._vocab is None:
            raise RuntimeError(f"`{type(self).__name__}` has no vocabulary yet; call its `setup`")
        return self._vocab

    @property
    def c(self) -> int:
        """The number of classes."""
        return len(self.vocab)

    def state(self) -> dict[str, Any]:
        """All it knows, as data that JSON can hold."""
        vocab = _storable(self.vocab)
        return {"kind": type(self).__name__, "vocab": vocab, "add_na": self.add_na}

    def __repr__(self) -> str:
        name = type(self).__name__
        if self._vocab is None:
            return f"{name}()"
        shown = ", ".join(map(repr, self.vocab[:10])) + (", ..." if self.c > 10 else "")
        return f"{name}({'1 class' if self.c == 1 else f'{self.c} classes'}: {shown})"


class _FoundClasses(_Classes, ABC):
    """What finds the classes in the labels, if they are not given."""

    exclusive: bool = False
    """Whether a label is one class, so that a single class leaves nothing to tell apart."""
    sort: bool = True

    def setup(
        self,
        labels: Sequence[Any],
        valid: Sequence[Any] | None = None,
        *,
        items: Any = None,
        valid_items: Any = None,
    ) -> None:
        """Find the vocabulary in the training set's labels, and check those of both sets.

        Missing and unknown labels raise, with the name of the first such item out of `items`. A
        class that one of the sets lacks is warned of, and where a label is one class, a single one.
        """
        sets = [self._labelled(labels, "training", items)]
        if valid is not None:
            sets.append(self._labelled(valid, "validation", valid_items))
        if self._vocab is None:
            sets[0].counts()  # raises what names the item
            self._vocab = Vocab.found(sets[0].labels, sort=self.sort, add_na=self.add_na)
        _check(self.vocab, sets, add_na=self.add_na)
        if self.exclusive and len(self.vocab) - self.add_na == 1:
            warn(
                f"there is one class only, {quoted(self.vocab[-1])}: nothing to tell apart; "
                "look at how labels are read"
            )

    @abstractmethod
    def _labelled(self, labels: Sequence[Any], which: str, items: Any) -> Labelled: ...


class Categorize(_FoundClasses):
    """One class a label, as its place in `vocab`, which `setup` finds if it is not given.

    The vocabulary is sorted, a given one too unless `sort=False`. With `add_na` it begins with
    `#na#`, which stands for missing and unknown labels; without, they are errors.

    >>> categorize = Categorize()
    >>> categorize.setup(["dog", "cat", "dog"], ["cat", "dog"])
    >>> categorize.vocab, categorize.encode("dog"), categorize.decode(0)
    (['cat', 'dog'], 1, 'cat')
    """

    exclusive = True

    def __init__(
        self, vocab: Iterable[Any] | None = None, sort: bool = True, add_na: bool = False
    ) -> None:
        self.sort = sort
        self.add_na = add_na
        self._vocab = None if vocab is None else Vocab.of(vocab, sort=sort, add_na=add_na)

    def _labelled(self, labels: Sequence[Any], which: str, items: Any) -> Labelled:
        return Labelled(labels, which, items)

    def encode(self, label: Any, item: Any = None) -> int:
        """The number of the class; `item` is named in an error."""
        return self.vocab.place(label, item, add_na=self.add_na)

    def decode(self, i: Any) -> Any:
        """The class of a number."""
        return self.vocab.label(i)


class MultiCategorize(_FoundClasses):
    """Any number of classes a label, as a float of 0 or 1 for each class of `vocab`.

    `setup` finds the vocabulary and sorts it; a given one stays as it is.

    >>> categorize = MultiCategorize()
    >>> categorize.setup([["sun", "sea"], ["sea"], []])
    >>> categorize.vocab, categorize.encode(["sun"]), categorize.decode(torch.tensor([1, 1]))
    (['sea', 'sun'], tensor([0., 1.]), ['sea', 'sun'])
    """

    def __init__(self, vocab: Iterable[Any] | None = None, add_na: bool = False) -> None:
        self.add_na = add_na
        self._vocab = None if vocab is None else Vocab.of(vocab, sort=False, add_na=add_na)

    def _labelled(self, labels: Sequence[Any], which: str, items: Any) -> Labelled:
        flat: list[Any] = []
        of: list[int] = []
        for i, label in enumerate(labels):
            several = _several(label, f"item {i}" if items is None else items[i])
            flat += several
            of += [i] * len(several)
        return Labelled(flat, which, items, of)

    def encode(self, label: Any, item: Any = None) -> Tensor:
        """A float for each class; `item` is named in an error."""
        encoded = torch.zeros(self.c)
        for one in _several(label, item):
            encoded[self.vocab.place(one, item, add_na=self.add_na)] = 1
        return encoded

    def decode(self, encoded: Any) -> list[Any]:
        """The classes whose value is above one half."""
        return _classes_of(encoded, self.vocab)


class EncodedMultiCategorize(_Classes):
    """Labels that are encoded already: a 0 or 1 for each class of `vocab`.

    >>> categorize = EncodedMultiCategorize(["sea", "sun"])
    >>> categorize.encode([0, 1]), categorize.decode([0, 1])
    (tensor([0., 1.]), ['sun'])
    """

    def __init__(self, vocab: Iterable[Any]) -> None:
        self._vocab = Vocab(vocab)

    def setup(
        self,
        labels: Sequence[Any],
        valid: Sequence[Any] | None = None,
        *,
        items: Any = None,
        valid_items: Any = None,
    ) -> None:
        """Look at the first label of each set; there is nothing to find out."""
        for given, named in ((labels, items), (valid, valid_items)):
            if given is not None and len(given):
                self.encode(given[0], None if named is None else named[0])

    def encode(self, label: Any, item: Any = None) -> Tensor:
        """The values as floats; `item` is named in an error."""
        encoded = _numbers(label, item)
        if encoded.shape != (self.c,):
            raise ValueError(
                f"the label {short(label)}{_of(item)} has the shape {tuple(encoded.shape)}; it "
                f"needs one value for each of the {self.c} classes"
            )
        if not ((encoded == 0) | (encoded == 1)).all():
            raise ValueError(
                f"the label {short(label)}{_of(item)} must be made of 0 and 1; "
                "names of classes are for `MultiCategorize`"
            )
        return encoded

    def decode(self, encoded: Any) -> list[Any]:
        """The classes whose value is above one half."""
        return _classes_of(encoded, self.vocab)


class RegressionSetup:
    """Numbers, as a float tensor: one, or `c` of them, which `setup` finds if it is not given.

    Text is read as a number, since that is what a table without pandas gives.

    >>> regression = RegressionSetup()
    >>> regression.setup([3, 4.5])
    >>> regression.c, regression.encode("4.5"), regression.decode(torch.tensor(4.5))
    (1, tensor(4.5000), 4.5)
    """

    vocab = None

    def __init__(self, c: int | None = None) -> None:
        self.c = c

    def setup(
        self,
        labels: Sequence[Any],
        valid: Sequence[Any] | None = None,
        *,
        items: Any = None,
        valid_items: Any = None,
    ) -> None:
        """Count the numbers of the first label, and look at all."""
        if self.c is None and len(labels):
            self.c = _numbers(labels[0], None if items is None else items[0]).numel()
        for given, named in ((labels, items), (valid, valid_items)):
            for i, label in enumerate(() if given is None else given):
                self.encode(label, f"item {i}" if named is None else named[i])

    def encode(self, label: Any, item: Any = None) -> Tensor:
        """The numbers as floats; `item` is named in an error."""
        encoded = _numbers(label, item)
        if not torch.isfinite(encoded).all():
            raise ValueError(
                f"the label {short(label)}{_of(item)} is missing or not finite; "
                "fill it, or leave the item out"
            )
        if self.c is not None and encoded.numel() != self.c:
            raise ValueError(
                f"the label {short(label)}{_of(item)} is {encoded.numel()} numbers, "
                f"but each has to be {self.c}"
            )
        return encoded

    def decode(self, encoded: Any) -> Any:
        """The number as a float, or several as a list."""
        return torch.as_tensor(encoded).tolist()

    def state(self) -> dict[str, Any]:
        """All it knows, as data that JSON can hold."""
        return {"kind": "RegressionSetup", "c": self.c}

    def __repr__(self) -> str:
        return f"RegressionSetup(c={self.c})"


LabelKind: TypeAlias = Categorize | MultiCategorize | EncodedMultiCategorize | RegressionSetup


def from_state(state: Mapping[str, Any]) -> LabelKind:
    """What gave this `state`, made again; anything else is refused.

    >>> from_state(Categorize(["cat", "dog"]).state())
    Categorize(2 classes: 'cat', 'dog')
    """
    kind = state.get("kind")
    if kind == "RegressionSetup":
        c = state.get("c")
        if c is not None and (type(c) is not int or c < 1):
            raise ValueError(f"a saved `RegressionSetup` has `c={short(c)}`, not a count")
        return RegressionSetup(c)
    vocab, add_na = state.get("vocab"), state.get("add_na", False)
    if not isinstance(vocab, list) or type(add_na) is not bool:
        raise ValueError(f"{short(dict(state))} is not what `state` of labels gives")
    vocab = Vocab(_storable(vocab))
    if kind == "EncodedMultiCategorize":
        return EncodedMultiCategorize(vocab)
    if add_na != (NA in vocab):
        raise ValueError(f"a saved vocabulary has {short(vocab)}, but `add_na` is {add_na}")
    if kind == "Categorize":
        return Categorize(vocab, sort=False, add_na=add_na)
    if kind == "MultiCategorize":
        return MultiCategorize(vocab, add_na=add_na)
    raise ValueError(f"{short(kind)} is no kind of labels")


# --- what they share


def _check(vocab: Vocab, sets: list[Labelled], *, add_na: bool) -> None:
    if len(vocab) == add_na:
        raise ValueError(
            f"the {len(sets[0].labels)} labels of the training set name no class; "
            "look at how labels are read, or name the classes by `vocab`"
        )
    for one_set in sets:
        one_set.check(vocab, add_na=add_na)


def _several(label: Any, item: Any) -> list[Any]:
    """The classes of one label; a string would fall into its letters."""
    if isinstance(label, str) or not isinstance(label, Iterable):
        raise TypeError(
            f"the label {short(label)}{_of(item)} is a `{type(label).__name__}`, but several "
            "classes need a list; split text, as by `ColReader(col, label_delim=' ')`"
        )
    return list(label)


def _numbers(label: Any, item: Any) -> Tensor:
    try:
        if isinstance(label, str):
            label = float(label)
        elif isinstance(label, list | tuple) and any(isinstance(part, str) for part in label):
            label = [float(part) for part in label]
        elif is_missing(label):
            label = math.nan
        return torch.as_tensor(plain(label), dtype=torch.float32)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(f"the label {short(label)}{_of(item)} is not made of numbers") from None


def _classes_of(encoded: Any, vocab: Vocab) -> list[Any]:
    encoded = torch.as_tensor(encoded)
    if encoded.shape != (len(vocab),):
        raise ValueError(
            f"there are {len(vocab)} classes, but values of shape {tuple(encoded.shape)}"
        )
    return [vocab[i] for i in torch.nonzero(encoded > 0.5).flatten().tolist()]


def _of(item: Any) -> str:
    return "" if item is None else f" of {quoted(str(item))}"


def _storable(vocab: Sequence[Any]) -> list[Any]:
    for label in vocab:
        if type(label) not in (str, int, float, bool):
            raise TypeError(
                f"the class {short(label)} is a `{type(label).__name__}`, which cannot be stored; "
                "make the labels text or numbers"
            )
    return list(vocab)
