"""A loader's data from the first item to the last, whatever order the loader itself has."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from learnlite.data.loader import Loader
from learnlite.data.stream import Stream
from learnlite.data.torch_loader import kept_generators, seed_loader
from learnlite.seeds import draw_seed, kept_rng, mix, seed_torch
from learnlite.types import Batch, EpochLoader


@runtime_checkable
class HasModes(Protocol):
    """A dataset that changes its items in one way for training, and in another to measure."""

    def in_mode(self, training: bool) -> Any:
        """The same items as training or as validation has them."""
        ...


def in_order(loader: Any, *, training: bool = False) -> Any:
    """A loader that gives every item once, in the data's order, as validation sees it.

    It is the loader itself where that is so already, and where it cannot be changed: a list of
    batches, or a stream. A sampler of torch's that chooses among the items still does. With
    `training` items are changed as training does, where the dataset knows how.

    >>> loader = Loader(range(5), bs=2, shuffle=True, drop_last=True)
    >>> list(in_order(loader))
    [tensor([0, 1]), tensor([2, 3]), tensor([4])]
    """
    if isinstance(loader, Loader):
        dataset = loader.dataset
        if isinstance(dataset, HasModes):
            dataset = dataset.in_mode(training)
        is_whole = not loader.drop_last or loader.n % loader.bs == 0
        if dataset is loader.dataset and is_whole and not loader.shuffle:
            return loader
        return loader.like(dataset)
    return _torch_in_order(loader) if type(loader) is DataLoader else loader


class Turn:
    """A loader whose epoch is number `k`, with draws that follow from `seed` and `k` alone.

    >>> list(Turn(Loader(range(5), bs=3), seed=1, k=2, device=torch.device("cpu")))
    [tensor([0, 1, 2]), tensor([3, 4])]
    """

    def __init__(self, loader: Any, seed: int, k: int, device: torch.device) -> None:
        self.loader = loader
        self.seed = mix(seed, k)
        self.k = k
        self.device = device

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(self.k)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches, whatever epoch is asked for."""
        seed_torch(self.seed, self.device)
        if isinstance(self.loader, EpochLoader):
            return self.loader.batches(self.k, start)
        seed_loader(self.loader, self.seed)
        return itertools.islice(iter(self.loader), start, None)


def some_items(loader: Any, n: int, *, shuffle: bool) -> Any:
    """A batch of at most `n` items as validation sees them, drawn at random or the first ones.

    They are drawn from torch's global generator. A list of batches, or a stream, gives its first
    batch, whatever its size.

    >>> some_items(Loader(range(100), bs=64, shuffle=True), 3, shuffle=False)
    tensor([0, 1, 2])
    """
    if isinstance(loader, Loader):
        loader = in_order(loader)
        return loader.like(
            loader.dataset,
            bs=min(n, loader.n),
            shuffle=shuffle,
            num_workers=0,
            seed=draw_seed() if shuffle else loader.seed,
        ).raw_batch()
    is_map = type(loader) is DataLoader and not isinstance(loader.dataset, IterableDataset)
    if is_map and loader.batch_sampler is not None:
        total = len(cast(Any, loader.dataset))
        chosen = torch.randperm(total) if shuffle else torch.arange(total)
        with kept_rng():
            return loader.collate_fn([loader.dataset[i] for i in chosen[:n].tolist()])
    with kept_rng():
        return loader.one_batch() if isinstance(loader, Stream) else next(iter(loader))


def _torch_in_order(loader: Any) -> Any:
    is_plain = type(loader.batch_sampler) is BatchSampler
    is_sequential = is_plain and type(loader.sampler) is SequentialSampler
    if isinstance(loader.dataset, IterableDataset) or loader.batch_sampler is None:
        return loader
    if is_sequential and not loader.drop_last:
        return loader
    sampler: Any = None
    if not is_plain or not isinstance(loader.sampler, RandomSampler | SequentialSampler):
        sampler = _chosen(loader)
    return DataLoader(
        loader.dataset,
        batch_size=loader.batch_size or max(map(len, _batches_of(loader)), default=1),
        sampler=sampler,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context,
        prefetch_factor=loader.prefetch_factor,
    )


def _chosen(loader: Any) -> list[int]:
    """The indices that a sampler of torch's chooses, in the data's order."""
    with kept_rng(), kept_generators(loader):
        if type(loader.batch_sampler) is BatchSampler:
            return sorted(cast(Iterable[int], loader.sampler))
        return sorted(i for batch in _batches_of(loader) for i in batch)


def _batches_of(loader: Any) -> list[list[int]]:
    with kept_rng(), kept_generators(loader):
        return [list(batch) for batch in loader.batch_sampler]
