"""Pooling in one, two or three dimensions, by the mean, the maximum, both, or blurred."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnlite.layers.shape import Flatten, Row

T = TypeVar("T")

Pool: TypeAlias = Callable[..., nn.Module]
"""Makes a pooling layer: called with (size, ndim=, ceil_mode=)."""


def of_ndim(choices: Mapping[int, T], ndim: int) -> T:
    """The one for so many dimensions, or a ValueError."""
    if ndim not in choices:
        raise ValueError(f"`ndim` must be 1, 2 or 3, got {ndim!r}")
    return choices[ndim]


def AdaptiveAvgPool(sz: int = 1, ndim: int = 2) -> nn.Module:  # noqa: N802  # fastai's name
    """The mean over each of `sz` parts of every dimension.

    >>> AdaptiveAvgPool(ndim=1)
    AdaptiveAvgPool1d(output_size=1)
    """
    return of_ndim(_ADAPTIVE, ndim)(sz)


def MaxPool(  # noqa: N802
    ks: int = 2, stride: int | None = None, padding: int = 0, ndim: int = 2, ceil_mode: bool = False
) -> nn.Module:
    """The maximum over windows of `ks`, one every `stride` (as far as they are long).

    >>> MaxPool(2)(torch.zeros(1, 1, 7, 7)).shape
    torch.Size([1, 1, 3, 3])
    """
    return of_ndim(_MAX, ndim)(ks, stride=stride, padding=padding, ceil_mode=ceil_mode)


def AvgPool(  # noqa: N802
    ks: int = 2, stride: int | None = None, padding: int = 0, ndim: int = 2, ceil_mode: bool = False
) -> nn.Module:
    """The mean over windows of `ks`, one every `stride` (as far as they are long).

    >>> AvgPool(2, ceil_mode=True)(torch.zeros(1, 1, 7, 7)).shape
    torch.Size([1, 1, 4, 4])
    """
    return of_ndim(_AVG, ndim)(ks, stride=stride, padding=padding, ceil_mode=ceil_mode)


class AdaptiveConcatPool1d(nn.Module):
    """The maxima over each of `size` parts (1 if not given), then the means, as channels.

    >>> AdaptiveConcatPool1d()(torch.tensor([[[1.0, 3.0]]])).flatten()
    tensor([3., 2.])
    """

    def __init__(self, size: int | None = None) -> None:
        super().__init__()
        self.size = size or 1
        self.ap = nn.AdaptiveAvgPool1d(self.size)
        self.mp = nn.AdaptiveMaxPool1d(self.size)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.mp(x), self.ap(x)], 1)


class AdaptiveConcatPool2d(nn.Module):
    """The maxima over a `size` by `size` grid (1 if not given), then the means, as channels.

    >>> AdaptiveConcatPool2d()(torch.tensor([[[[1.0, 3.0]]]])).flatten()
    tensor([3., 2.])
    """

    def __init__(self, size: int | tuple[int, int] | None = None) -> None:
        super().__init__()
        self.size = size or 1
        self.ap = nn.AdaptiveAvgPool2d(self.size)
        self.mp = nn.AdaptiveMaxPool2d(self.size)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.mp(x), self.ap(x)], 1)


class PoolType:
    """The names of the ways to pool a whole image."""

    Avg, Max, Cat = "Avg", "Max", "Cat"


def adaptive_pool(pool_type: str) -> Callable[[int], nn.Module]:
    """The class that pools a whole image so: "Avg", "Max" or "Cat" (both).

    >>> adaptive_pool(PoolType.Max)(1)
    AdaptiveMaxPool2d(output_size=1)
    """
    kinds: dict[str, Callable[[int], nn.Module]] = {
        "Avg": nn.AdaptiveAvgPool2d,
        "Max": nn.AdaptiveMaxPool2d,
        "Cat": AdaptiveConcatPool2d,
    }
    if pool_type not in kinds:
        raise ValueError(f"`pool_type` must be one of {', '.join(kinds)}, got {pool_type!r}")
    return kinds[pool_type]


class PoolFlatten(Row):
    """One number a channel from each image.

    >>> PoolFlatten()(torch.zeros(4, 3, 8, 8)).shape
    torch.Size([4, 3])
    """

    def __init__(self, pool_type: str = PoolType.Avg) -> None:
        super().__init__(adaptive_pool(pool_type)(1), Flatten())


class BlurPool(nn.Module):
    """Shrinks by `stride` after a blur of width 3, so that a shifted image gives nearly the same.

    Beyond the edge the last pixel goes on. With `ceil_mode` an odd size is rounded up.

    >>> BlurPool(2)(torch.ones(1, 1, 5, 5))
    tensor([[[[1., 1., 1.],
              [1., 1., 1.],
              [1., 1., 1.]]]])
    """

    kernel: Tensor

    def __init__(self, stride: int = 2, ndim: int = 2, ceil_mode: bool = True) -> None:
        super().__init__()
        self.stride, self.ndim, self.ceil_mode = stride, ndim, ceil_mode
        self.conv = of_ndim(_CONV, ndim)
        kernel = line = torch.tensor([0.25, 0.5, 0.25])
        for _ in range(ndim - 1):
            kernel = kernel[..., None] * line
        self.register_buffer("kernel", kernel[None, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if not self.ceil_mode:
            for axis in range(2, 2 + self.ndim):
                x = x.narrow(axis, 0, x.shape[axis] // self.stride * self.stride)
        channels = x.shape[1]
        kernel = self.kernel.to(x.dtype).expand(channels, *self.kernel.shape[1:])
        padded = F.pad(x, (1, 1) * self.ndim, mode="replicate")
        return self.conv(padded, kernel, stride=self.stride, groups=channels)

    def extra_repr(self) -> str:
        return f"stride={self.stride}"


class MaxBlurPool(Row):
    """The maximum over windows of `ks`, one every pixel, shrunk by `stride` with a `BlurPool`.

    >>> MaxBlurPool(2)(torch.zeros(1, 1, 7, 7)).shape
    torch.Size([1, 1, 4, 4])
    """

    def __init__(
        self, ks: int = 2, stride: int | None = None, ndim: int = 2, ceil_mode: bool = True
    ) -> None:
        # Smaller than all: a window over the edge has the maximum of its pixels inside.
        pixels = of_ndim(_EDGE, ndim)((0, ks - 1) * ndim, float("-inf"))
        super().__init__(
            pixels, MaxPool(ks, stride=1, ndim=ndim), BlurPool(stride or ks, ndim, ceil_mode)
        )


POOLS: dict[str, Pool] = {
    "AvgPool": AvgPool,
    "MaxPool": MaxPool,
    "BlurPool": BlurPool,
    "MaxBlurPool": MaxBlurPool,
}
"""What `pool` may be called in a recipe, which holds no classes."""

_ADAPTIVE: dict[int, Any] = {
    1: nn.AdaptiveAvgPool1d,
    2: nn.AdaptiveAvgPool2d,
    3: nn.AdaptiveAvgPool3d,
}
_MAX: dict[int, Any] = {1: nn.MaxPool1d, 2: nn.MaxPool2d, 3: nn.MaxPool3d}
_AVG: dict[int, Any] = {1: nn.AvgPool1d, 2: nn.AvgPool2d, 3: nn.AvgPool3d}
_EDGE: dict[int, Any] = {1: nn.ConstantPad1d, 2: nn.ConstantPad2d, 3: nn.ConstantPad3d}
_CONV: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
