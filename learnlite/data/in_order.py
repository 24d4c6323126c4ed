"""A loader's data from the first item to the last, whatever order the loader itself has."""

from collections.abc import Iterable
from typing import Any, Protocol, cast, runtime_checkable

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
)

from learnlite.data.loader import Loader
from learnlite.data.torch_loader import kept_generators
from learnlite.seeds import kept_rng


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
