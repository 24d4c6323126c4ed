"""Items given one by one: a batch of them, and what is predicted for each."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from learnlite.data.batch import describe
from learnlite.data.loader import Loader
from learnlite.data.tensors import TensorItems, as_tensor
from learnlite.seeds import kept_rng
from learnlite.types import Batch


def as_items(items: Any, *, is_images: bool = False) -> Sequence[Any]:
    """Several items as what has a length and slices: iterators are read; one alone is refused.

    >>> as_items(iter(["1.jpg", "2.jpg"]))
    ['1.jpg', '2.jpg']
    """
    is_one = isinstance(items, str | bytes | bytearray | PurePath | Mapping)
    if isinstance(items, np.ndarray) and items.ndim and items.dtype.kind in "OSU":
        return list(items)  # of paths, say
    if isinstance(items, Tensor | np.ndarray):
        is_one = items.ndim < 1 + 2 * is_images or (
            is_images and items.ndim == 3 and items.shape[-1] in (3, 4)
        )
    elif hasattr(items, "__len__") and hasattr(items, "__getitem__") and not is_one:
        return items
    if is_one or not isinstance(items, Iterable):
        raise TypeError(
            f"`predict_batch` takes several items, as a list, got one: {describe(items)}; use "
            "`predict(item)`, or give a list: `predict_batch([item])`"
        )
    is_rows = isinstance(items, Tensor | np.ndarray)
    return cast(Any, items) if is_rows else list(cast("Iterable[Any]", items))


def batch_of(pattern: Any, items: Sequence[Any]) -> Batch:
    """A batch of these items as the loader `pattern` would give it; read here, by no worker.

    Its dataset makes items of what they are made of (paths, say); or they are inputs as it gives
    them: a tensor, a tuple of several, a dict.

    >>> batch_of(Loader(TensorItems(torch.zeros(9, 2))), [torch.ones(2), torch.ones(2)])[0].shape
    torch.Size([2, 2])
    """
    dataset = getattr(pattern, "dataset", None)
    if isinstance(dataset, TensorItems) or not hasattr(dataset, "test_set"):
        return _of_inputs(pattern, items)
    new = cast(Any, dataset).test_set(items)
    collate = getattr(new, "collate", None) or default_collate
    with kept_rng():
        return collate([new[i] for i in range(len(items))])


def _of_inputs(pattern: Any, items: Sequence[Any]) -> Batch:
    first = items[0]
    if isinstance(first, Mapping):
        own = getattr(pattern, "collate" if isinstance(pattern, Loader) else "collate_fn", None)
        return (own or default_collate)(list(items))
    rows = [item if isinstance(item, tuple) else (item,) for item in items]
    try:
        return tuple(
            torch.stack([as_tensor(part) for part in column]) for column in zip(*rows, strict=True)
        )
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"an item must be what the loader's dataset gives as input (a tensor, an array, a "
            f"tuple of them, a dict), and all of one shape; got {describe(first)}"
        ) from error


def labels_of(decoded: Any, vocab: Sequence[Any] | None) -> list[Any]:
    """What is predicted for each item of a batch, as people read it.

    Classes are named by `vocab`, if there is one; several an item, where they are yes or no each.

    >>> labels_of(torch.tensor([1, 0]), ["cat", "dog"])
    ['dog', 'cat']
    >>> labels_of(torch.tensor([[True, True], [False, False]]), ["sea", "sun"])
    [['sea', 'sun'], []]
    """
    if not isinstance(decoded, Tensor):
        return list(decoded) if isinstance(decoded, list) else _rows_of(decoded)
    if decoded.dtype is torch.bool and decoded.ndim == 2 and vocab is not None:
        return [
            [name for name, has in zip(vocab, row, strict=True) if has] for row in decoded.tolist()
        ]
    if decoded.ndim > 1 and decoded[0].numel() > 1:
        return [row.tolist() for row in decoded] if decoded.ndim == 2 else list(decoded)
    values = decoded.flatten().tolist()
    if vocab is not None and not decoded.is_floating_point():
        return [vocab[i] for i in values]
    return values


def row_of(rows: Any, i: int) -> Any:
    """Row `i` of gathered rows, however they are nested.

    >>> row_of((torch.tensor([1, 2]), {"a": torch.tensor([3, 4])}), 1)
    (tensor(2), {'a': tensor(4)})
    """
    if isinstance(rows, Mapping):
        return {key: row_of(part, i) for key, part in cast(Mapping[Any, Any], rows).items()}
    if isinstance(rows, tuple):
        return tuple(row_of(part, i) for part in cast(Sequence[Any], rows))
    return None if rows is None else rows[i]


def _rows_of(rows: Any) -> list[Any]:
    first = rows
    while isinstance(first, Mapping | tuple):
        first = next(iter(first.values() if isinstance(first, Mapping) else first))
    return [row_of(rows, i) for i in range(len(first))]
