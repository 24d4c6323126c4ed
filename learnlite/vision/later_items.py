"""Items that come later, to be predicted: read as those of the training were, or inputs as is."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any, cast

from learnlite.data.tables import is_pandas, rows_of

Getter = Callable[[Any], Any]


def as_ours(
    items: Any, ours: Sequence[Any], getters: Sequence[Getter], *, is_inputs: bool
) -> tuple[Sequence[Any], list[Getter]]:
    """The items as `getters` want them, which read ours; and the getters, unless none is needed.

    A table is taken by its rows, and a path as text where ours are `Path`s. With `is_inputs`,
    items of another kind than ours are inputs themselves.

    >>> read = [lambda row: row["file"]]
    >>> as_ours(["1.jpg"], [{"file": "0.jpg"}], read, is_inputs=True)[1][0]("1.jpg")
    '1.jpg'
    """
    if isinstance(items, dict) or is_pandas(items, "DataFrame"):
        items = rows_of(items)
    elif isinstance(items, Iterator):
        items = list(cast(Iterator[Any], items))
    if not len(items) or not len(ours):
        return items, list(getters)
    item, own = items[0], ours[0]
    if isinstance(own, PurePath) and isinstance(item, str):
        return [Path(one) for one in items], list(getters)
    if isinstance(own, str) and isinstance(item, PurePath):
        return [str(one) for one in items], list(getters)
    if not is_inputs or isinstance(item, type(own)) or isinstance(own, type(item)):
        return items, list(getters)
    return items, [_itself]


def _itself(item: Any) -> Any:
    return item
