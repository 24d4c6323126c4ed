"""One batch of a torch `DataLoader`, without its workers and without a trace."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, IterableDataset

from learnlite.seeds import kept_rng
from learnlite.types import Batch


def first_of_torch(loader: Any) -> Batch:
    """The first batch, read in this process; generators and a running epoch stay as they are."""
    with kept_rng():
        if cast(Any, type(loader)).__iter__ is not cast(Any, DataLoader).__iter__:
            return next(iter(loader))
        with kept_generators(loader):
            here: Any = DataLoader(
                loader.dataset,
                collate_fn=loader.collate_fn,
                generator=torch.Generator(),
                **_order(loader),
            )
            return next(iter(here))


@contextmanager
def kept_generators(loader: Any) -> Generator[None]:
    """Give back the states of the generators that a torch loader was made with."""
    states = [(generator, generator.get_state()) for generator in generators_of(loader)]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


def generators_of(loader: Any) -> list[torch.Generator]:
    """The generators that decide a torch loader's order; none for any other loader."""
    if not isinstance(loader, DataLoader):
        return []
    holders: list[Any] = [loader, loader.sampler, loader.batch_sampler]
    holders.append(getattr(loader.batch_sampler, "sampler", None))
    found = [getattr(holder, "generator", None) for holder in holders]
    return [generator for generator in found if isinstance(generator, torch.Generator)]


def seed_loader(loader: Any, seed: int) -> None:
    """Make the next epoch of a torch loader a function of `seed`, beside the default generator."""
    for generator in generators_of(loader):
        generator.manual_seed(seed)
    workers_stay = getattr(loader, "persistent_workers", False)
    if workers_stay and getattr(loader, "_iterator", None) is not None:
        # Its first epoch has drawn a seed for the workers before the order; so do the others.
        torch.empty((), dtype=torch.int64).random_(generator=loader.generator)


def _order(loader: Any) -> dict[str, Any]:
    if isinstance(loader.dataset, IterableDataset):
        return {"batch_size": loader.batch_size, "drop_last": loader.drop_last}
    if loader.batch_sampler is not None:
        return {"batch_sampler": loader.batch_sampler}
    return {"batch_size": None, "sampler": loader.sampler}
