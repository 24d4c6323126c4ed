"""Items that come later, to be predicted: read as those of the training were, or inputs as is."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from learnlite.data.tables import by_position
from learnlite.vision.foreign import Sample, Samples

Getter = Callable[[Any], Any]


def as_ours(
    items: Any, ours: Sequence[Any], getters: Sequence[Getter], *, is_inputs: bool
) -> tuple[Sequence[Any], list[Getter]]:
    """The items as `getters` want them, which read ours; and the getters, unless none is needed.

    A table is taken by its rows, and a path as text where ours are `Path`s. With `is_inputs`, items
    of another kind than ours are inputs themselves, also in a list that has both.

    >>> read = [lambda row: row["file"]]
    >>> as_ours(["1.jpg"], [{"file": "0.jpg"}], read, is_inputs=True)[1][0]("1.jpg")
    '1.jpg'
    """
    items = by_position(items)
    if not hasattr(items, "__len__") or not hasattr(items, "__getitem__"):
        raise TypeError(
            "items are a list, a table, or anything with a length and indices, got a "
            f"`{type(items).__name__}`; make it a list, in the order that predictions are to have"
        )
    if not len(items) or not len(ours):
        return items, list(getters)
    item, own = items[0], ours[0]
    if isinstance(own, Sample):
        return _as_samples(items, own.samples, is_inputs=is_inputs), list(getters)
    looked_at = items if type(items) is list else [item]  # others may be read as they are asked
    kinds = {type(one) for one in looked_at}
    if all(issubclass(kind, type(own)) or isinstance(own, kind) for kind in kinds):
        return items, list(getters)
    if isinstance(own, PurePath) and all(issubclass(kind, str | PurePath) for kind in kinds):
        return [Path(one) for one in items], list(getters)
    if isinstance(own, str) and all(issubclass(kind, str | PurePath) for kind in kinds):
        return [str(one) for one in items], list(getters)
    return items, [_Suited(getter, own, is_inputs) for getter in getters]


def _as_samples(items: Any, ours: Samples, *, is_inputs: bool) -> Any:
    """A dataset with the classes of ours; inputs alone are images, or samples as they come."""
    if is_inputs or isinstance(items[0], Sample):
        return items
    if not isinstance(items[0], tuple | list | Mapping):
        raise TypeError(
            f"these items have no labels, the first is a `{type(items[0]).__name__}`; give a "
            "dataset like the one to train on, pairs (image, label), or leave `with_labels` out"
        )
    return ours.like(items)


class _Suited:
    """A getter that reads what is like our items, and leaves inputs as they are."""

    def __init__(self, getter: Getter, own: Any, is_inputs: bool) -> None:
        self.getter = getter
        self.own = own
        self.is_inputs = is_inputs
        self.__name__ = getattr(getter, "__name__", None) or repr(getter)

    def __call__(self, item: Any) -> Any:
        own = self.own
        if isinstance(own, PurePath) and isinstance(item, str):
            item = Path(item)
        elif isinstance(own, str) and isinstance(item, PurePath):
            item = str(item)
        is_like = isinstance(item, type(own)) or isinstance(own, type(item))
        return self.getter(item) if is_like or not self.is_inputs else item
