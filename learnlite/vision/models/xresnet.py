"""Residual networks with the tricks of He et al. 2018 ("bag of tricks"), as fastai builds them.

A stem of three convolutions, shortcuts that pool before they change channels, and blocks whose last
norm begins with 0. The Imagenette leaderboard's variants are there by name: `deep` and `deeper`
have more groups of blocks, `xse_…` weigh channels, `…resnext…` convolve in groups.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, Protocol

from torch import nn

from learnlite.layers import (
    ACTIVATIONS,
    NORM_TYPES,
    POOLS,
    Activation,
    AdaptiveAvgPool,
    AvgPool,
    ConvLayer,
    Flatten,
    MaxPool,
    NormType,
    Pool,
    ResBlock,
    Row,
    SEBlock,
    SEResNeXtBlock,
    init_cnn,
    name_of,
    named,
)
from learnlite.recipe import builder

Block = Callable[..., nn.Module]
_WIDTHS = (64, 128, 256, 512)  # of the first four groups of blocks; further ones have 256


class XResNet(Row):
    """A residual network: a stem, `layers[i]` blocks in group i, pooling and a linear layer.

    `widen` scales the channels of all blocks, `sa` adds self-attention after the first group; what
    else is given goes to each `block`, as `pool=MaxBlurPool` or `groups=32`.

    >>> model = XResNet(ResBlock, 1, [1, 1], n_out=10)
    >>> import torch
    >>> model(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        block: Block,
        expansion: int,
        layers: Sequence[int],
        p: float = 0.0,
        c_in: int = 3,
        n_out: int = 1000,
        stem_szs: Sequence[int] = (32, 32, 64),
        widen: float = 1.0,
        sa: bool = False,
        act_cls: Activation = nn.ReLU,
        ndim: int = 2,
        ks: int = 3,
        stride: int = 2,
        **kwargs: Any,
    ) -> None:
        if ks % 2 == 0:
            raise ValueError(f"`ks` must be odd, so that sizes can stay; got {ks}")
        if len(stem_szs) == 0 or stem_szs[-1] % expansion:
            raise ValueError(
                f"`stem_szs` must end with a multiple of {expansion}, got {list(stem_szs)}"
            )
        sizes = [c_in, *stem_szs]
        stem = [
            ConvLayer(ni, nf, ks=ks, stride=stride if i == 0 else 1, act_cls=act_cls, ndim=ndim)
            for i, (ni, nf) in enumerate(pairwise(sizes))
        ]
        widths = [*_WIDTHS, *[256] * (len(layers) - 4)][: len(layers)]
        widths = [stem_szs[-1] // expansion, *(int(width * widen) for width in widths)]
        options = {"act_cls": act_cls, "ndim": ndim, "ks": ks, **kwargs}
        groups: list[nn.Module] = []
        for i, n_blocks in enumerate(layers):
            blocks = [
                block(
                    expansion,
                    widths[i] if j == 0 else widths[i + 1],
                    widths[i + 1],
                    stride=stride if i > 0 and j == 0 else 1,
                    sa=sa and i == len(layers) - 4 and j == n_blocks - 1,
                    **options,
                )
                for j in range(n_blocks)
            ]
            groups.append(nn.Sequential(*blocks))
        super().__init__(
            *stem,
            MaxPool(ks=ks, stride=stride, padding=ks // 2, ndim=ndim),
            *groups,
            AdaptiveAvgPool(sz=1, ndim=ndim),
            Flatten(),
            nn.Dropout(p),
            nn.Linear(widths[-1] * expansion, n_out),
        )
        init_cnn(self)


class MakesXResNet(Protocol):
    """A function that makes an `XResNet` of one architecture.

    `act_cls`, `norm_type` and `pool` may be given by name, as `act_cls="Mish"`; what is made with
    one that has no name there (`ACTIVATIONS`, `NORM_TYPES`, `POOLS` of `learnlite.layers`) works
    too, but has no recipe to export.
    """

    __name__: str

    def __call__(
        self,
        n_out: int = 1000,
        pretrained: bool = False,
        *,
        c_in: int = 3,
        p: float = ...,
        stem_szs: Sequence[int] = (32, 32, 64),
        widen: float = 1.0,
        sa: bool = False,
        sym: bool = False,
        act_cls: str | Activation = nn.ReLU,
        ndim: int = 2,
        ks: int = 3,
        stride: int = 2,
        groups: int = ...,
        reduction: int | None = ...,
        dw: bool = False,
        g2: int = 1,
        base_width: int = 4,
        norm_type: str | NormType | None = NormType.Batch,
        pool: str | Pool = AvgPool,
        pool_first: bool = True,
        bn_1st: bool = True,
    ) -> XResNet: ...


XRESNETS: dict[str, MakesXResNet] = {}
"""Every architecture of this file, by name."""


def _architecture(
    name: str,
    block: Block,
    expansion: int,
    layers: Sequence[int],
    groups: int = 1,
    reduction: int | None = None,
    p: float = 0.0,
) -> MakesXResNet:
    """The function of this name, registered, so that what it makes has a recipe."""

    @builder(name)
    def plain(base_width: int, **options: Any) -> XResNet:
        for option, table in _TABLES.items():
            options[option] = named(options[option], table, option)
        if block is SEResNeXtBlock:
            options["base_width"] = base_width
        return XResNet(block, expansion, layers, **options)

    def make(
        n_out: int = 1000,
        pretrained: bool = False,
        *,
        c_in: int = 3,
        p: float = p,
        stem_szs: Sequence[int] = (32, 32, 64),
        widen: float = 1.0,
        sa: bool = False,
        sym: bool = False,
        act_cls: str | Activation = nn.ReLU,
        ndim: int = 2,
        ks: int = 3,
        stride: int = 2,
        groups: int = groups,
        reduction: int | None = reduction,
        dw: bool = False,
        g2: int = 1,
        base_width: int = 4,
        norm_type: str | NormType | None = NormType.Batch,
        pool: str | Pool = AvgPool,
        pool_first: bool = True,
        bn_1st: bool = True,
    ) -> XResNet:
        _check_asked(name, n_out, pretrained)
        return plain(
            n_out=n_out,
            c_in=c_in,
            p=p,
            stem_szs=stem_szs,
            widen=widen,
            sa=sa,
            sym=sym,
            act_cls=name_of(act_cls, ACTIVATIONS),
            ndim=ndim,
            ks=ks,
            stride=stride,
            groups=groups,
            reduction=reduction,
            dw=dw,
            g2=g2,
            base_width=base_width,
            norm_type=name_of(norm_type, NORM_TYPES),
            pool=name_of(pool, POOLS),
            pool_first=pool_first,
            bn_1st=bn_1st,
        )

    make.__name__ = make.__qualname__ = name
    make.__doc__ = f"`{block.__name__}`s in groups of {', '.join(map(str, layers))}."
    XRESNETS[name] = make
    return make


def _check_asked(name: str, n_out: int, pretrained: bool) -> None:
    if isinstance(n_out, bool) or not isinstance(pretrained, bool):
        given = f"{n_out!r}, {pretrained!r}"
        raise TypeError(
            f"`{name}` takes a number of outputs, and whether to load weights, got {given}; write "
            f"`{name}(n_out=10, pretrained=False)`"
        )
    if pretrained:
        raise ValueError(
            f"there are no pretrained weights for `{name}`; train it with `pretrained=False`, or "
            'take a network that has some, as `"resnet34"` of torchvision'
        )


_TABLES: dict[str, dict[str, Any]] = {
    "act_cls": ACTIVATIONS,
    "norm_type": NORM_TYPES,
    "pool": POOLS,
}

_18, _34, _101, _152 = (2, 2, 2, 2), (3, 4, 6, 3), (3, 4, 23, 3), (3, 8, 36, 3)
_50 = _34  # with an expansion of 4
_MORE, _MOST = (1, 1), (1, 1, 1, 1)

xresnet18 = _architecture("xresnet18", ResBlock, 1, _18)
xresnet34 = _architecture("xresnet34", ResBlock, 1, _34)
xresnet50 = _architecture("xresnet50", ResBlock, 4, _50)
xresnet101 = _architecture("xresnet101", ResBlock, 4, _101)
xresnet152 = _architecture("xresnet152", ResBlock, 4, _152)
xresnet18_deep = _architecture("xresnet18_deep", ResBlock, 1, _18 + _MORE)
xresnet34_deep = _architecture("xresnet34_deep", ResBlock, 1, _34 + _MORE)
xresnet50_deep = _architecture("xresnet50_deep", ResBlock, 4, _50 + _MORE)
xresnet18_deeper = _architecture("xresnet18_deeper", ResBlock, 1, (2, 2, 1, 1, *_MOST))
xresnet34_deeper = _architecture("xresnet34_deeper", ResBlock, 1, _34 + _MOST)
xresnet50_deeper = _architecture("xresnet50_deeper", ResBlock, 4, _50 + _MOST)
xse_resnet18 = _architecture("xse_resnet18", SEBlock, 1, _18, reduction=16)
xse_resnet34 = _architecture("xse_resnet34", SEBlock, 1, _34, reduction=16)
xse_resnet50 = _architecture("xse_resnet50", SEBlock, 4, _50, reduction=16)
xse_resnet101 = _architecture("xse_resnet101", SEBlock, 4, _101, reduction=16)
xse_resnet152 = _architecture("xse_resnet152", SEBlock, 4, _152, reduction=16)
xse_resnext18 = _architecture("xse_resnext18", SEResNeXtBlock, 1, _18, groups=32, reduction=16)
xse_resnext34 = _architecture("xse_resnext34", SEResNeXtBlock, 1, _34, groups=32, reduction=16)
xse_resnext50 = _architecture("xse_resnext50", SEResNeXtBlock, 4, _50, groups=32, reduction=16)
xse_resnext101 = _architecture("xse_resnext101", SEResNeXtBlock, 4, _101, groups=32, reduction=16)
xresnext18 = _architecture("xresnext18", SEResNeXtBlock, 1, _18, groups=32)
xresnext34 = _architecture("xresnext34", SEResNeXtBlock, 1, _34, groups=32)
xresnext50 = _architecture("xresnext50", SEResNeXtBlock, 4, _50, groups=32)
xresnext101 = _architecture("xresnext101", SEResNeXtBlock, 4, _101, groups=32)
xse_resnext18_deep = _architecture(
    "xse_resnext18_deep", SEResNeXtBlock, 1, _18 + _MORE, groups=32, reduction=16
)
xse_resnext34_deep = _architecture(
    "xse_resnext34_deep", SEResNeXtBlock, 1, _34 + _MORE, groups=32, reduction=16
)
xse_resnext50_deep = _architecture(
    "xse_resnext50_deep", SEResNeXtBlock, 4, _50 + _MORE, groups=32, reduction=16
)
xse_resnext18_deeper = _architecture(
    "xse_resnext18_deeper", SEResNeXtBlock, 1, (2, 2, 1, 1, *_MOST), groups=32, reduction=16
)
xse_resnext34_deeper = _architecture(
    "xse_resnext34_deeper", SEResNeXtBlock, 1, (3, 4, 4, 2, 2, 1, 1, 1), groups=32, reduction=16
)
xse_resnext50_deeper = _architecture(
    "xse_resnext50_deeper", SEResNeXtBlock, 4, (3, 4, 4, 2, 2, 1, 1, 1), groups=32, reduction=16
)
xsenet154 = _architecture("xsenet154", SEBlock, 4, _152, groups=64, reduction=16, p=0.2)
