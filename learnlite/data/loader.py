"""Our loader: every batch is a pure function of (seed, epoch, batch number)."""

from collections.abc import Callable, Iterable, Iterator, Sized
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, default_collate

from learnlite.data.batch import pin
from learnlite.data.reading import Job, Reader, undisturbed
from learnlite.data.sampling import Order
from learnlite.data.tensors import TensorItems
from learnlite.data.wording import did_you_mean
from learnlite.data.workers import WorkerPool
from learnlite.seeds import as_seed, mix
from learnlite.types import Batch

OTHER_NAMES = {"batch_size": "bs", "collate_fn": "collate", "nw": "num_workers"}
"""What arguments of loaders are called elsewhere."""


class Loader:
    """Batches of a dataset, the same ones with any number of workers and from any start.

    The order of an epoch is a function of (seed, epoch), the randomness of an item one of (seed,
    epoch, index). Neither reading nor starting draws from a global generator.

    `dataset` has `__len__` and `__getitem__`; if it has `__getitems__(indices)` too, that is called
    once a batch and returns a list of items, or a finished batch (anything but a list).
    `seed` is drawn from torch's global generator if not given. `collate` makes a batch of a list of
    items, by default `torch.utils.data.default_collate`. `pin_memory` is on where there is CUDA.
    `timeout` is how many seconds to wait for a worker.
    `order(seed, n)` gives the `n` indices of an epoch instead of a shuffle, where some items are to
    come more often; `seed` is a function of (seed, epoch), and nothing else may be drawn from.

    >>> loader = Loader(range(10), bs=4, shuffle=True, seed=42)
    >>> [len(batch) for batch in loader]
    [4, 4, 2]
    >>> bool((next(loader.batches(epoch=3, start=1)) == list(loader.batches(epoch=3))[1]).all())
    True
    """

    def __init__(
        self,
        dataset: Any,
        bs: int = 64,
        *,
        shuffle: bool = False,
        order: Order | None = None,
        drop_last: bool | None = None,
        seed: int | None = None,
        num_workers: int = 0,
        collate: Callable[[Any], Any] | None = None,
        pin_memory: bool | None = None,
        timeout: float = 60,
        prefetch_factor: int = 2,
        start_method: str | None = None,
    ) -> None:
        self.n = _length(dataset)
        self.dataset = dataset
        self.bs = whole_number("bs", bs, least=1)
        self.num_workers = whole_number("num_workers", num_workers, least=0)
        self.prefetch_factor = whole_number("prefetch_factor", prefetch_factor, least=1)
        self.shuffle = shuffle or order is not None
        self.order = order
        self.drop_last = bool(drop_last)
        self.collate = collate
        self.pin_memory = pin_memory
        self.timeout = timeout or 0
        self.start_method = start_method
        self.seed = as_seed(seed)
        self.epoch = 0
        """The epoch that `iter` gives next."""
        if self.timeout < 0:
            raise ValueError(f"`timeout` must be at least 0 seconds, got {timeout}")
        if not self.n:
            raise ValueError(f"the dataset is empty: `len` of this `{_name(dataset)}` is 0")
        if not len(self):
            raise ValueError(
                f"`drop_last` leaves no batch of {self.n} items with `bs={self.bs}`; "
                "use a smaller `bs`, or `drop_last=False`"
            )
        if order is not None:
            if not callable(order):
                raise TypeError(
                    f"`order` is a function of (seed, n), got a `{_name(order)}`; "
                    "for weights, one an item, give `WeightedOrder(weights)`"
                )
            self._order(self.epoch)  # what is wrong with it is told now
        self._tensors = _in_memory(dataset) if collate is None else None
        self._reader = Reader(dataset, collate or default_collate)
        self._idle_pool: WorkerPool | None = None

    def __len__(self) -> int:
        return self.n // self.bs if self.drop_last else -(-self.n // self.bs)

    def __iter__(self) -> Iterator[Batch]:
        epoch = self.epoch
        self.epoch += 1
        return self.batches(epoch)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from batch `start` on; those before it are not read."""
        whole_number("epoch", epoch, least=0)
        if whole_number("start", start, least=0) > len(self):
            raise ValueError(f"`start` must be at most {len(self)}, the batches, got {start}")
        if self._tensors is not None:  # one indexing a batch: workers could only slow it down
            return self._indexed(self._tensors, epoch, start)
        if self.num_workers:
            return self._from_workers(self._jobs(epoch, start))
        return self._read_here(self._jobs(epoch, start))

    def one_batch(self) -> Batch:
        """The first batch, as `raw_batch` gives it."""
        return self.raw_batch()

    def raw_batch(self) -> Batch:
        """The first batch that `iter` would give, read in this process; nothing changes by it."""
        if self._tensors is not None:
            return next(self.batches(self.epoch))
        return next(self._read_here(self._jobs(self.epoch, 0)))

    def like(self, dataset: Any, **changes: Any) -> "Loader":
        """A loader of another dataset with the same settings, but for `changes`; in its order.

        >>> Loader(range(10), bs=4, shuffle=True, seed=1).like(range(6), bs=3)
        Loader(6 items of range, 2 batches of 3, seed=1)
        """
        check_settings(type(self), changes)
        settings: dict[str, Any] = {
            "bs": self.bs,
            "seed": self.seed,
            "num_workers": self.num_workers,
            "collate": self.collate,
            "pin_memory": self.pin_memory,
            "timeout": self.timeout,
            "prefetch_factor": self.prefetch_factor,
            "start_method": self.start_method,
        }
        return type(self)(dataset, **(settings | changes))

    def new(self, dataset: Any = None, **changes: Any) -> "Loader":
        """A loader like this one, shuffled as it is, but for `changes`; of `dataset`, if given.

        >>> Loader(range(10), bs=4, shuffle=True, seed=1).new(bs=5)
        Loader(10 items of range, 2 batches of 5, shuffled, seed=1)
        """
        own: dict[str, Any] = {"shuffle": self.shuffle, "drop_last": self.drop_last}
        if dataset is None and "shuffle" not in changes:
            own["order"] = self.order  # it may know the items, one by one
        return self.like(self.dataset if dataset is None else dataset, **own | changes)

    def close(self) -> None:
        """End the worker processes that wait for the next epoch; it would start new ones."""
        pool, self._idle_pool = self._idle_pool, None
        if pool is not None:
            pool.close()

    def __repr__(self) -> str:
        n_batches = "1 batch" if len(self) == 1 else f"{len(self):,} batches"
        settings = [
            f"{self.n:,} items of {_name(self.dataset)}",
            f"{n_batches} of {self.bs}",
            "shuffled" if self.shuffle and self.order is None else "",
            f"order={self.order!r}" if self.order is not None else "",
            "last one dropped" if self.drop_last and self.n % self.bs else "",
            f"{self.num_workers} workers" if self.num_workers else "",
            f"seed={self.seed}",
        ]
        return f"Loader({', '.join(part for part in settings if part)})"

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_idle_pool": None}  # a copy starts processes of its own

    def _order(self, epoch: int) -> Tensor:
        epoch_seed = mix(self.seed, epoch)
        if self.order is not None:
            return _checked_order(self.order(epoch_seed, self.n), self.n)
        generator = torch.Generator().manual_seed(epoch_seed)
        return torch.randperm(self.n, generator=generator)

    def _jobs(self, epoch: int, start: int) -> Iterator[Job]:
        epoch_seed = mix(self.seed, epoch)
        order = self._order(epoch) if self.shuffle else None
        for first in range(start * self.bs, len(self) * self.bs, self.bs):
            last = min(first + self.bs, self.n)
            yield epoch_seed, range(first, last) if order is None else order[first:last].tolist()

    def _read_here(self, jobs: Iterator[Job]) -> Iterator[Batch]:
        for job in jobs:
            with undisturbed() as threads:
                batch = self._reader.read(job, threads=threads)
            yield pin(batch) if self._pins else batch

    def _indexed(self, items: TensorItems, epoch: int, start: int) -> Iterator[Batch]:
        on_device = items.tensors[0].device
        pins = self._pins and on_device.type == "cpu"
        stop = min(len(self) * self.bs, self.n)
        if self.shuffle:
            order = self._order(epoch)[start * self.bs : stop].to(on_device, non_blocking=True)
            # `split` makes all views at once: 0.3 µs each, slices cost 1.1
            batches = map(items.take, order.split(self.bs) if len(order) else ())
        else:
            firsts = range(start * self.bs, stop, self.bs)
            batches = (items.rows(first, min(first + self.bs, stop)) for first in firsts)
        return map(pin, batches) if pins else iter(batches)

    def _from_workers(self, jobs: Iterator[Job]) -> Iterator[Batch]:
        pool, self._idle_pool = self._idle_pool, None  # two epochs at once have a pool each
        if pool is not None and not pool.is_whole:
            pool.close(at_once=True)
            pool = None
        if pool is None:
            pool = WorkerPool(
                self._reader,
                self.num_workers,
                timeout=self.timeout,
                prefetch_factor=self.prefetch_factor,
                pin_memory=self._pins,
                start_method=self.start_method,
            )
        try:
            yield from pool.run(jobs)
        finally:
            if not pool.is_whole:
                pool.close(at_once=True)
            elif self._idle_pool is None:
                self._idle_pool = pool
            else:
                pool.close()

    @property
    def _pins(self) -> bool:
        if self.pin_memory is None:
            return torch.cuda.is_available()
        return self.pin_memory


def _in_memory(dataset: Any) -> TensorItems | None:
    if type(dataset) is TensorDataset:
        return TensorItems(*dataset.tensors)
    return dataset if type(dataset) is TensorItems else None


_WHOLE = (torch.int64, torch.int32, torch.int16, torch.uint8)


def _checked_order(indices: Any, n: int) -> Tensor:
    order = torch.as_tensor(indices)
    if order.ndim != 1 or len(order) != n or order.dtype not in _WHOLE:
        raise ValueError(
            f"`order` must give {n:,} whole numbers, one for each item, got a tensor of shape "
            f"{tuple(order.shape)} and {order.dtype}"
        )
    least, most = order.aminmax()
    if least < 0 or most >= n:
        raise ValueError(
            f"`order` gives indices from {int(least)} to {int(most)}, "
            f"but there are {n:,} items, counted from 0"
        )
    return order.long()


def _length(dataset: Any) -> int:
    if isinstance(dataset, IterableDataset):
        raise TypeError(
            f"`{_name(dataset)}` is an `IterableDataset`: it has no index to start from or to "
            "shuffle; use `Stream(torch.utils.data.DataLoader(dataset, batch_size=64), n)` with "
            "the number of batches an epoch is to have"
        )
    if isinstance(dataset, Loader | DataLoader):
        raise TypeError(
            f"a dataset is needed, got a loader (`{_name(dataset)}`); "
            "give `loader.dataset`, or use the loader as it is"
        )
    if not isinstance(dataset, Sized) or not hasattr(dataset, "__getitem__"):
        raise TypeError(
            f"a dataset needs `__len__` and `__getitem__`, which `{_name(dataset)}` has not; "
            "give a list, a dataset of torch, or a class with these two"
        )
    return len(dataset)


def check_settings(loader: type[Loader], given: Iterable[str]) -> None:
    """Refuse what is no argument of a class of loaders, with the one that was perhaps meant.

    >>> check_settings(Loader, ["batch_size"])
    Traceback (most recent call last):
    ...
    TypeError: `Loader` has no argument `batch_size`; did you mean `bs`?
    """
    known = signature(loader).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return  # it says itself what it does not know
    for name in given:
        if name not in known:
            hint = did_you_mean(OTHER_NAMES.get(name, name), known)
            raise TypeError(f"`{loader.__name__}` has no argument `{name}`{hint}")


def whole_number(name: str, value: Any, *, least: int) -> int:
    """The value of the argument `name` as an int, if that is what it is."""
    if isinstance(value, bool) or not hasattr(value, "__index__") or value < least:
        raise ValueError(f"`{name}` must be a whole number of at least {least}, got {value!r}")
    return int(value)


def _name(dataset: Any) -> str:
    return type(dataset).__name__
