"""Convolutions and linear layers together with the norm and activation that go with them."""

from enum import Enum
from typing import Any, cast

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm
from torch.nn.utils.parametrize import is_parametrized

from learnlite.layers.activations import Activation
from learnlite.layers.init import Init, icnr_init, init_linear, trunc_normal_
from learnlite.layers.pool import of_ndim
from learnlite.layers.shape import Row

NormType = Enum(
    "NormType", ["Batch", "BatchZero", "Weight", "Spectral", "Instance", "InstanceZero"]
)
"""What normalizes after a convolution; the two `…Zero` begin with a weight of 0."""

NORM_TYPES: dict[str, Any] = {kind.name: kind for kind in NormType}
"""What `norm_type` may be called in a recipe, which holds no classes."""

_CONV: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_TRANSPOSED: dict[int, Any] = {
    1: nn.ConvTranspose1d,
    2: nn.ConvTranspose2d,
    3: nn.ConvTranspose3d,
}
_BATCH_NORM: dict[int, Any] = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_INSTANCE_NORM: dict[int, Any] = {
    1: nn.InstanceNorm1d,
    2: nn.InstanceNorm2d,
    3: nn.InstanceNorm3d,
}


def BatchNorm(  # noqa: N802  # fastai's name
    nf: int, ndim: int = 2, norm_type: NormType = NormType.Batch, **kwargs: Any
) -> nn.Module:
    """A batch norm whose bias begins at 0.001, and its weight at 1 (`BatchZero`: at 0).

    >>> BatchNorm(2, norm_type=NormType.BatchZero).weight.tolist()
    [0.0, 0.0]
    """
    return _norm(of_ndim(_BATCH_NORM, ndim)(nf, **kwargs), norm_type is NormType.BatchZero)


def InstanceNorm(  # noqa: N802
    nf: int,
    ndim: int = 2,
    norm_type: NormType = NormType.Instance,
    affine: bool = True,
    **kwargs: Any,
) -> nn.Module:
    """An instance norm whose bias begins at 0.001, and its weight at 1 (`InstanceZero`: at 0).

    >>> InstanceNorm(2, ndim=1).weight.tolist()
    [1.0, 1.0]
    """
    norm = of_ndim(_INSTANCE_NORM, ndim)(nf, affine=affine, **kwargs)
    return _norm(norm, norm_type is NormType.InstanceZero)


def _norm(norm: Any, zero: bool) -> nn.Module:
    if norm.affine:
        nn.init.constant_(norm.bias, 1e-3)
        nn.init.constant_(norm.weight, 0.0 if zero else 1.0)
    return norm


class ConvLayer(Row):
    """A convolution from `ni` to `nf` channels, its norm and its activation.

    By default the size stays (divided by `stride`, rounded up), the convolution has a bias only if
    no norm follows that has one, and the norm comes before the activation (`bn_1st`). `xtra` is a
    layer for the end; further arguments, as `groups`, go to torch's convolution.

    >>> ConvLayer(3, 8, stride=2)
    ConvLayer(
      (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), bias=False)
      (1): BatchNorm2d(8, eps=1e-05, momentum=0.1, ...)
      (2): ReLU()
    )
    """

    def __init__(
        self,
        ni: int,
        nf: int,
        ks: int | tuple[int, ...] = 3,
        stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] | None = None,
        bias: bool | None = None,
        ndim: int = 2,
        norm_type: NormType | None = NormType.Batch,
        bn_1st: bool = True,
        act_cls: Activation | None = nn.ReLU,
        transpose: bool = False,
        init: Init | str | None = "auto",
        xtra: nn.Module | None = None,
        bias_std: float | None = 0.01,
        **kwargs: Any,
    ) -> None:
        if norm_type is not None and not isinstance(norm_type, NormType):
            raise TypeError(f"`norm_type` must be a `NormType` or None, got {norm_type!r}")
        if padding is None:
            padding = 0 if transpose else _half(ks)
        batch = norm_type in (NormType.Batch, NormType.BatchZero)
        instance = norm_type in (NormType.Instance, NormType.InstanceZero)
        if bias is None:
            bias = not (batch or instance)
        kind = of_ndim(_TRANSPOSED if transpose else _CONV, ndim)
        conv = kind(ni, nf, ks, stride=stride, padding=padding, bias=bias, **kwargs)
        act = None if act_cls is None else act_cls()
        init_linear(conv, act, init, bias_std)
        if norm_type is NormType.Weight:
            conv = weight_norm(conv)
        elif norm_type is NormType.Spectral:
            conv = spectral_norm(conv)
        norm = None
        if batch or instance:
            make = BatchNorm if batch else InstanceNorm
            norm = make(nf, ndim=ndim, norm_type=cast(NormType, norm_type))
        order = (norm, act) if bn_1st else (act, norm)
        super().__init__(*(layer for layer in (conv, *order, xtra) if layer is not None))


def _half(ks: int | tuple[int, ...]) -> int | tuple[int, ...]:
    return (ks - 1) // 2 if isinstance(ks, int) else tuple((size - 1) // 2 for size in ks)


class LinBnDrop(Row):
    """Batch norm, dropout and a linear layer (before them with `lin_first`), as heads have them.

    >>> LinBnDrop(4, 2, p=0.5, act=nn.ReLU())
    LinBnDrop(
      (0): BatchNorm1d(4, eps=1e-05, momentum=0.1, ...)
      (1): Dropout(p=0.5, inplace=False)
      (2): Linear(in_features=4, out_features=2, bias=False)
      (3): ReLU()
    )
    """

    def __init__(
        self,
        n_in: int,
        n_out: int,
        bn: bool = True,
        p: float = 0.0,
        act: nn.Module | None = None,
        lin_first: bool = False,
    ) -> None:
        before: list[nn.Module] = [BatchNorm(n_out if lin_first else n_in, ndim=1)] if bn else []
        if p != 0:
            before.append(nn.Dropout(p))
        linear: list[nn.Module] = [nn.Linear(n_in, n_out, bias=not bn)]
        if act is not None:
            linear.append(act)
        super().__init__(*(linear + before if lin_first else before + linear))


class Embedding(nn.Embedding):
    """An `nn.Embedding` that begins with small values: normal with `std`, within two of them.

    >>> bool((Embedding(10, 4).weight.abs() <= 0.02).all())
    True
    """

    def __init__(self, ni: int, nf: int, std: float = 0.01) -> None:
        super().__init__(ni, nf)
        trunc_normal_(self.weight, std=std)


class PixelShuffle_ICNR(Row):  # noqa: N801  # fastai's name
    """Enlarges `scale` times: each pixel is made into a square, from `ni` to `nf` channels.

    It begins as the nearest pixel repeated (`icnr_init`); `blur` smooths over each 2 by 2.

    >>> import torch
    >>> PixelShuffle_ICNR(8, 4)(torch.zeros(1, 8, 5, 6)).shape
    torch.Size([1, 4, 10, 12])
    """

    def __init__(
        self,
        ni: int,
        nf: int | None = None,
        scale: int = 2,
        blur: bool = False,
        norm_type: NormType | None = NormType.Weight,
        act_cls: Activation | None = nn.ReLU,
    ) -> None:
        n_filters = (ni if nf is None else nf) * scale**2
        conv = ConvLayer(ni, n_filters, ks=1, norm_type=norm_type, act_cls=act_cls, bias_std=0)
        _set_weight(conv[0], scale)
        layers: list[nn.Module] = [conv, nn.PixelShuffle(scale)]
        if blur:
            layers += [nn.ReplicationPad2d((1, 0, 1, 0)), nn.AvgPool2d(2, stride=1)]
        super().__init__(*layers)


def _set_weight(conv: Any, scale: int) -> None:
    """Give the convolution ICNR's values, through its weight or spectral norm if it has one."""
    weight = icnr_init(conv.weight.detach(), scale)
    conv.weight = weight if is_parametrized(conv) else nn.Parameter(weight)
