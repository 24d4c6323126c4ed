"""Names that notebooks use without an import: tensors, modules that load when needed."""

import importlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from learnlite.data.batch import move
from learnlite.plots import pyplot
from learnlite.vision.image import to_element
from learnlite.vision.loader import BlockLoader


class Later:
    """A module that is imported when something of it is used.

    >>> maths = Later("math")
    >>> maths.floor(2.5), repr(maths)
    (2, 'Later(math)')
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_module(self._name), name)

    def __dir__(self) -> list[str]:
        return dir(_module(self._name))

    def __repr__(self) -> str:
        return f"Later({self._name})"


def _module(name: str) -> Any:
    return pyplot() if name == "matplotlib.pyplot" else importlib.import_module(name)


matplotlib = Later("matplotlib")
plt = Later("matplotlib.pyplot")
pd = Later("pandas")


def tensor(x: Any, *others: Any, **settings: Any) -> Tensor:
    """Numbers, an array, or a PIL image's pixels (height, width, channels) as a tensor of its own.

    >>> tensor(1, 2), tensor(Image.new("L", (3, 2))).shape
    (tensor([1, 2]), torch.Size([2, 3]))
    """
    if others:
        x = (x, *others)
    if isinstance(x, Tensor):
        return x.clone()
    if isinstance(x, list | tuple) and any(isinstance(part, Tensor | np.ndarray) for part in x):
        return torch.stack([tensor(part, **settings) for part in x])
    return torch.tensor(np.array(x) if isinstance(x, Image.Image) else x, **settings)


def image2tensor(image: Image.Image) -> Tensor:
    """The pixels of a PIL image as bytes (channels, height, width).

    >>> image2tensor(Image.new("RGB", (6, 4))).shape
    torch.Size([3, 4, 6])
    """
    return to_element(image).as_subclass(Tensor)


def first(items: Iterable[Any]) -> Any:
    """The first of what can be iterated; of a loader of images, its batch as the model gets it.

    >>> first(n for n in range(5) if n > 2)
    3
    """
    return items.one_batch() if isinstance(items, BlockLoader) else next(iter(items))


def to_cpu(batch: Any) -> Any:
    """The tensors of a batch, however it is nested, on the CPU.

    >>> to_cpu((torch.ones(2), ["a"]))
    (tensor([1., 1.]), ['a'])
    """
    return move(batch, torch.device("cpu"))


def subplots(
    nrows: int = 1, ncols: int = 1, figsize: tuple[float, float] | None = None, **settings: Any
) -> Any:
    """A figure and its axes, always as an array, each 3 inches wide and high unless `figsize` says.

    >>> fig, axs = subplots(1, 3)
    >>> axs.shape
    (3,)
    """
    figsize = figsize or (3.0 * ncols, 3.0 * nrows)
    figure, axes = pyplot().subplots(nrows, ncols, figsize=figsize, **settings)
    return figure, np.atleast_1d(axes)
