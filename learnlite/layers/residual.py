"""Residual blocks: plain, with squeeze and excitation, with groups."""

import math
from typing import Any

from torch import Tensor, nn

from learnlite.layers.activations import Activation
from learnlite.layers.attention import SimpleSelfAttention
from learnlite.layers.conv import ConvLayer, NormType
from learnlite.layers.pool import AvgPool, Pool
from learnlite.layers.shape import ProdLayer, SequentialEx

_ZERO: dict[NormType | None, NormType] = {
    NormType.Batch: NormType.BatchZero,
    NormType.Instance: NormType.InstanceZero,
}


def SEModule(  # noqa: N802  # fastai's name
    ch: int, reduction: int, act_cls: Activation = nn.ReLU
) -> SequentialEx:
    """Squeeze and excitation: weighs the channels by what they hold on the whole.

    >>> import torch
    >>> SEModule(16, reduction=4)(torch.zeros(2, 16, 5, 5)).shape
    torch.Size([2, 16, 5, 5])
    """
    nf = math.ceil(ch // reduction / 8) * 8
    if nf < 1:
        raise ValueError(f"`reduction` must be at most the {ch} channels, got {reduction}")
    return SequentialEx(
        nn.AdaptiveAvgPool2d(1),
        ConvLayer(ch, nf, ks=1, norm_type=None, act_cls=act_cls),
        ConvLayer(nf, ch, ks=1, norm_type=None, act_cls=nn.Sigmoid),
        ProdLayer(),
    )


class ResBlock(nn.Module):
    """Convolutions with a shortcut around them, from `ni` to `nf` channels (times `expansion`).

    With `expansion=1` two convolutions of `ks`, else three, of 1, `ks` and 1. The last norm begins
    with 0, so that the block begins as its shortcut. The shortcut shrinks by `pool`, before its
    convolution if `pool_first`. `reduction` adds an `SEModule`, `sa` a `SimpleSelfAttention`;
    `groups`, `dw` (as many groups as channels) and `g2` split the convolutions. What else is given
    goes to each `ConvLayer`.

    >>> import torch
    >>> ResBlock(4, 16, 32, stride=2)(torch.zeros(1, 64, 7, 7)).shape
    torch.Size([1, 128, 4, 4])
    """

    def __init__(
        self,
        expansion: int,
        ni: int,
        nf: int,
        stride: int = 1,
        groups: int = 1,
        reduction: int | None = None,
        nh1: int | None = None,
        nh2: int | None = None,
        dw: bool = False,
        g2: int = 1,
        sa: bool = False,
        sym: bool = False,
        norm_type: NormType | None = NormType.Batch,
        act_cls: Activation = nn.ReLU,
        ndim: int = 2,
        ks: int = 3,
        pool: Pool = AvgPool,
        pool_first: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        nh2 = nf if nh2 is None else nh2
        nh1 = nh2 if nh1 is None else nh1
        nf, ni = nf * expansion, ni * expansion
        inner: dict[str, Any] = {"norm_type": norm_type, "act_cls": act_cls, "ndim": ndim, **kwargs}
        last: dict[str, Any] = inner | {
            "norm_type": _ZERO.get(norm_type, norm_type),
            "act_cls": None,
        }
        path: list[nn.Module]
        if expansion == 1:
            path = [
                ConvLayer(ni, nh2, ks, stride=stride, groups=ni if dw else groups, **inner),
                ConvLayer(nh2, nf, ks, groups=g2, **last),
            ]
        else:
            path = [
                ConvLayer(ni, nh1, 1, **inner),
                ConvLayer(nh1, nh2, ks, stride=stride, groups=nh1 if dw else groups, **inner),
                ConvLayer(nh2, nf, 1, groups=g2, **last),
            ]
        if reduction:
            path.append(SEModule(nf, reduction=reduction, act_cls=act_cls))
        if sa:
            path.append(SimpleSelfAttention(nf, ks=1, sym=sym))
        self.convpath = nn.Sequential(*path)
        shortcut: list[nn.Module] = []
        if ni != nf:
            shortcut.append(ConvLayer(ni, nf, 1, act_cls=None, ndim=ndim, **kwargs))
        if stride != 1:
            # rounded up, as the convolution's size is
            shortcut.insert(0 if pool_first else 1, pool(stride, ndim=ndim, ceil_mode=True))
        self.idpath = nn.Sequential(*shortcut)
        self.act = nn.ReLU(inplace=True) if act_cls is nn.ReLU else act_cls()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.convpath(x) + self.idpath(x))


def SEBlock(  # noqa: N802
    expansion: int,
    ni: int,
    nf: int,
    groups: int = 1,
    reduction: int | None = 16,
    stride: int = 1,
    **kwargs: Any,
) -> ResBlock:
    """A `ResBlock` with squeeze and excitation and a wider middle.

    >>> SEBlock(4, 16, 32).convpath[0][0].out_channels
    64
    """
    widths: dict[str, Any] = {"nh1": nf * 2, "nh2": nf * expansion, **kwargs}
    return ResBlock(expansion, ni, nf, stride=stride, groups=groups, reduction=reduction, **widths)


def SEResNeXtBlock(  # noqa: N802
    expansion: int,
    ni: int,
    nf: int,
    groups: int = 32,
    reduction: int | None = 16,
    stride: int = 1,
    base_width: int = 4,
    **kwargs: Any,
) -> ResBlock:
    """A `ResBlock` with squeeze and excitation and a middle in `groups`.

    >>> SEResNeXtBlock(4, 64, 64).convpath[1][0].groups
    32
    """
    width: dict[str, Any] = {"nh2": math.floor(nf * (base_width / 64)) * groups, **kwargs}
    return ResBlock(expansion, ni, nf, stride=stride, groups=groups, reduction=reduction, **width)


def SeparableBlock(  # noqa: N802
    expansion: int, ni: int, nf: int, reduction: int | None = 16, stride: int = 1, **kwargs: Any
) -> ResBlock:
    """A `ResBlock` whose middle convolution looks at each channel by itself.

    >>> SeparableBlock(4, 16, 16).convpath[1][0].groups
    32
    """
    width: dict[str, Any] = {"nh2": nf * 2, **kwargs}
    return ResBlock(expansion, ni, nf, stride=stride, reduction=reduction, dw=True, **width)
