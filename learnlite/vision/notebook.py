"""Names that notebooks use without an import: tensors, modules that load when needed."""

import importlib
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from learnlite.plots import pyplot
from learnlite.vision.image import to_element


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
