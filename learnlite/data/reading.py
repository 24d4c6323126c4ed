"""Reading a batch as a pure function of (seed, epoch, indices), in whichever process."""

import random
from bisect import bisect_right
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
import torch
from torch.utils.data import ConcatDataset, StackDataset, Subset

from learnlite.data.tensors import TensorItems
from learnlite.seeds import kept_rng, mix

Job = tuple[int, Sequence[int]]
"""What a reader needs to make a batch: the seed of the epoch, and the indices of the items."""

_NUMPY_SEEDS = (1 << 32) - 1  # numpy's old generator takes seeds of 32 bits
_WHERE_FILES_ARE = ("items", "samples", "imgs", "files", "paths")


@runtime_checkable
class _ReadsBatches(Protocol):
    def __getitems__(self, indices: Sequence[int]) -> Any: ...


@runtime_checkable
class ReadsSeeded(Protocol):
    """A dataset that makes whole batches, in which each item has a seed of its own.

    It calls `seed_item` with the seed of an item before it draws anything for it, so that the item
    is the one that `[index]` gives. None means that these items are to be read one by one. It may
    compute on so many `threads`.
    """

    def read_batch(self, indices: Sequence[int], seeds: Sequence[int], threads: int) -> Any: ...


class Reader:
    """Reads the items of a batch, each with its own randomness, and collates them.

    Before an item is read, the generators of torch, Python and numpy are seeded from (seed, epoch,
    index): 7 µs an item, of which numpy's takes 2 and Python's 4. So which process reads it, and
    what was read before, do not matter.
    """

    def __init__(
        self, dataset: Any, collate: Callable[[Any], Any], reading: Any | None = None
    ) -> None:
        self.dataset = dataset
        self.collate = collate
        self.reading = reading  # shared with the main process: which index each worker reads
        self.by_batch = reads_batches(dataset)
        self.is_seeded = isinstance(dataset, ReadsSeeded)

    def read(self, job: Job, worker: int = 0, threads: int = 1) -> Any:
        """The batch of a job; an error names the item at fault."""
        epoch_seed, indices = job
        items: Any = None
        if self.is_seeded:
            items = self._seeded(epoch_seed, indices, worker, threads)
        elif self.by_batch:
            items = self._together(epoch_seed, indices, worker)
        if items is None:
            items = [self._item(epoch_seed, index, worker) for index in indices]
        elif not isinstance(items, list):
            return items  # the dataset has made a batch of them itself
        try:
            return self.collate(items)
        except Exception as error:
            error.add_note(
                f"while putting the items {_shown(indices)} into one batch"
                f"{_differing(self.dataset, indices, items)}; they must agree in shape and type, "
                "or give the loader a `collate` function that makes them agree"
            )
            raise

    def _item(self, epoch_seed: int, index: int, worker: int) -> Any:
        seed_item(mix(epoch_seed, index))
        if self.reading is not None:
            self.reading[worker] = index
        try:
            return self.dataset[index]
        except Exception as error:
            error.add_note(f"while reading {name_item(self.dataset, index)}")
            raise

    def _seeded(self, epoch_seed: int, indices: Sequence[int], worker: int, threads: int) -> Any:
        if self.reading is not None:
            self.reading[worker] = indices[0]
        seeds = [mix(epoch_seed, index) for index in indices]
        try:
            return self.dataset.read_batch(indices, seeds, threads)
        except Exception as error:
            for index in indices:  # the one at fault raises, and is named
                self._item(epoch_seed, index, worker)
            error.add_note(f"while reading the items {_shown(indices)} together")
            raise

    def _together(self, epoch_seed: int, indices: Sequence[int], worker: int) -> Any:
        # One call reads them all, so they share a seed: that of the first.
        seed_item(mix(epoch_seed, indices[0]))
        if self.reading is not None:
            self.reading[worker] = indices[0]
        try:
            items = self.dataset.__getitems__(list(indices))
        except Exception as error:
            error.add_note(f"while reading {self._culprit(indices)}")
            raise
        if isinstance(items, list) and len(cast(list[Any], items)) != len(indices):
            raise TypeError(
                f"`{type(self.dataset).__name__}.__getitems__` must return a list of as many items "
                f"as it was asked for, or a batch as a tuple or dict; asked for {len(indices)} "
                f"it gave a list of {len(cast(list[Any], items))}"
            )
        return items

    def _culprit(self, indices: Sequence[int]) -> str:
        for index in indices:
            try:
                self.dataset.__getitems__([index])
            except Exception:
                return name_item(self.dataset, index)
        return f"the items {_shown(indices)} together"


def seed_item(value: int) -> None:
    """Seed what an item may draw from: the generators of torch, Python and numpy."""
    torch.default_generator.manual_seed(value)
    random.seed(value)
    np.random.seed(value & _NUMPY_SEEDS)  # noqa: NPY002  # the one that datasets draw from


@contextmanager
def undisturbed() -> Generator[int]:
    """Read in this process as a worker would, and leave no trace: 80 µs a batch.

    A worker computes with one thread; with two, the mean of a photo differs in its last bit. Gives
    the threads that torch had, for what may use them nevertheless.
    """
    n_threads = torch.get_num_threads()
    with kept_rng():
        torch.set_num_threads(1)
        try:
            yield n_threads
        finally:
            torch.set_num_threads(n_threads)


def reads_batches(dataset: Any) -> bool:
    """Whether a dataset is to be read a batch at a time: it has a `__getitems__` of its own."""
    method = getattr(type(dataset), "__getitems__", None)
    if method is cast(Any, Subset).__getitems__:  # torch's only delegate
        return reads_batches(dataset.dataset)
    if method is cast(Any, StackDataset).__getitems__:
        datasets = dataset.datasets
        return any(map(reads_batches, datasets.values() if type(datasets) is dict else datasets))
    # Tensors come here for the sake of a `collate` function, which takes items.
    return isinstance(dataset, _ReadsBatches) and not isinstance(dataset, TensorItems)


def name_item(dataset: Any, index: int) -> str:
    """An item in words: its index, and its path where the dataset knows it."""
    path = item_path(dataset, index)
    if path is None:
        return f"item {index}"
    shown = "".join(letter if letter.isprintable() else "?" for letter in path)
    return f"item {index} (`{shown}`)"


def _differing(dataset: Any, indices: Sequence[int], items: Sequence[Any]) -> str:
    """The first item and the first that has other shapes, if there is one, by their files."""
    shapes = [_shapes(item) for item in items]
    k = next((k for k, other in enumerate(shapes) if other != shapes[0]), None)
    if k is None:
        return ""
    pairs = [pair for pair in zip(shapes[0], shapes[k], strict=False) if pair[0] != pair[1]]
    first, other = pairs[0] if pairs else (f"{len(shapes[0])} parts", f"{len(shapes[k])} parts")
    names = [name_item(dataset, indices[i]) for i in (0, k)]
    return f": {names[0]} has {first}, {names[1]} {other}"


def _shapes(item: Any) -> list[Any]:
    parts: Any = item if isinstance(item, tuple | list) else (item,)
    return [tuple(part.shape) if hasattr(part, "shape") else type(part).__name__ for part in parts]


def item_path(dataset: Any, index: int) -> str | None:
    """The file an item comes from, if the dataset lists it in `items`, `samples`, `imgs`, ….

    >>> class Photos:
    ...     samples = [("cat/1.jpg", 0), ("dog/7.jpg", 1)]
    >>> item_path(Photos(), 1)
    'dog/7.jpg'
    """
    if isinstance(dataset, Subset):
        subset = cast(Any, dataset)
        return item_path(subset.dataset, subset.indices[index])
    if isinstance(dataset, ConcatDataset):
        parts = cast(Any, dataset)
        k = bisect_right(parts.cumulative_sizes, index)
        return item_path(parts.datasets[k], index - (parts.cumulative_sizes[k - 1] if k else 0))
    for name in _WHERE_FILES_ARE:
        try:
            entry: Any = getattr(dataset, name)[index]
            entry = entry[0] if type(entry) is tuple else entry
        except Exception:  # a message about a fault must not fail on a curious dataset
            continue
        if isinstance(entry, str) or hasattr(entry, "__fspath__"):
            return str(entry)
    return None


def _shown(indices: Sequence[int]) -> str:
    shown = ", ".join(str(index) for index in indices[:8])
    return f"{shown}, ..." if len(indices) > 8 else shown
