"""What is no loader of batches, and what to give instead."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from learnlite.data.loader import Loader
from learnlite.data.stream import Stream
from learnlite.data.tensors import TensorItems


def check_loader(loader: Any, name: str) -> None:
    """Refuse what is no loader with at least one batch; `name` is the argument it came as.

    >>> check_loader([], "train")
    Traceback (most recent call last):
    ValueError: no training batches: the length of `train` is 0; look at the length of its...
    """
    given = f"`{name}` is a `{type(loader).__name__}`"
    if type(loader) in (list, tuple) and any(
        isinstance(part, Loader | DataLoader | Stream) for part in cast(Sequence[Any], loader)
    ):
        raise TypeError(f"{given} of loaders; give them one by one: `DataLoaders(train, valid)`")
    if isinstance(loader, Tensor) or (
        isinstance(loader, tuple)
        and loader
        and all(isinstance(part, Tensor) for part in cast(tuple[Any, ...], loader))
    ):
        raise TypeError(
            f"{given} of tensors, not a loader of batches; use "
            "`DataLoaders.from_tensors((x, y), (x_valid, y_valid))`"
        )
    if isinstance(loader, Dataset | TensorItems):
        raise TypeError(
            f"{given}, a dataset and not a loader; use `DataLoaders.from_dsets(train, valid)`"
        )
    if isinstance(loader, str | bytes | Path | dict):
        raise TypeError(f"{given}, not a loader; give an iterable of batches, as a `Loader`")
    try:
        n_batches = len(loader)
    except TypeError:
        if not callable(loader) and not _is_iterable(loader):
            raise TypeError(_not_iterable(given)) from None
        raise TypeError(
            f"{given}, which has no length; say how many batches an epoch has: "
            "`Stream(generator, n)`, or `Stream(function, n)` with a function that makes it anew"
        ) from None
    if not _is_iterable(loader):
        raise TypeError(_not_iterable(given))
    if not n_batches:
        what = "training" if name == "train" else "validation"
        advice = (
            "look at the length of its dataset, and at `drop_last`"
            if name == "train"
            else "leave it out to train without validation"
        )
        raise ValueError(f"no {what} batches: the length of `{name}` is 0; {advice}")


def _is_iterable(loader: Any) -> bool:
    return isinstance(loader, Iterable) or hasattr(loader, "__getitem__")


def _not_iterable(given: str) -> str:
    return f"{given}, which cannot be iterated; give an iterable of batches, as a `Loader`"
