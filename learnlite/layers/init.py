"""First values of weights: which distribution, for which layers."""

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.parametrize import is_parametrized

Init: TypeAlias = Callable[[Tensor], Any]
"""Fills a tensor in place, as `nn.init.kaiming_normal_`."""

NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.GroupNorm,
)
_KAIMING = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.Mish, nn.SiLU)
_XAVIER = (nn.Sigmoid, nn.Tanh)
_WEIGHTED = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)


def init_default(m: nn.Module, func: Init | None = nn.init.kaiming_normal_) -> nn.Module:
    """Fill the module's own weight with `func` and its bias with 0, and give it back.

    A weight of one dimension (a norm's, PReLU's) stays, and one that is computed from others.

    >>> init_default(nn.Linear(2, 2)).bias.tolist()
    [0.0, 0.0]
    """
    weight, bias = getattr(m, "weight", None), getattr(m, "bias", None)
    computed = is_parametrized(m, "weight")
    if func is not None and isinstance(weight, Tensor) and weight.ndim > 1 and not computed:
        func(weight)
    if isinstance(bias, Tensor):
        nn.init.zeros_(bias)
    return m


def apply_init(m: nn.Module, func: Init | None = nn.init.kaiming_normal_) -> None:
    """`init_default` for every module inside that trains, but for norms and those without a size.

    >>> apply_init(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.init.ones_)
    """
    first = next(m.parameters(), None)
    sized = not any(is_lazy(p) for p in m.parameters(recurse=False))
    if sized and first is not None and first.requires_grad and not isinstance(m, NORMS):
        init_default(m, func)
    for child in m.children():
        apply_init(child, func)


def init_linear(
    m: nn.Module,
    act_func: nn.Module | None = None,
    init: Init | str | None = "auto",
    bias_std: float | None = 0.01,
) -> None:
    """First values for a layer that the activation `act_func` follows.

    "auto" is kaiming's for ReLU and its kin (Mish, Swish too), xavier's for Sigmoid and Tanh, and
    torch's own for others; the bias is normal with `bias_std`, or as it was with None.

    >>> init_linear(nn.Linear(2, 2), nn.ReLU(), bias_std=0)
    """
    weight, bias = getattr(m, "weight", None), getattr(m, "bias", None)
    if isinstance(bias, Tensor) and bias_std is not None:
        if bias_std:
            nn.init.normal_(bias, 0, bias_std)
        else:
            nn.init.zeros_(bias)
    if isinstance(init, str):
        if init != "auto":
            raise ValueError(
                f'`init` must be "auto", None or a function as `nn.init.kaiming_normal_`, '
                f"got {init!r}"
            )
        init = (
            nn.init.kaiming_uniform_
            if isinstance(act_func, _KAIMING)
            else nn.init.xavier_uniform_
            if isinstance(act_func, _XAVIER)
            else None
        )
    if init is not None and isinstance(weight, Tensor):
        init(weight)


def init_cnn(m: nn.Module) -> None:
    """Kaiming's normal values for all convolutions and linear layers inside, 0 for every bias.

    >>> init_cnn(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU()))
    """
    if isinstance(getattr(m, "bias", None), Tensor):
        nn.init.zeros_(m.bias)  # type: ignore[arg-type]  # the line above
    if isinstance(m, _WEIGHTED) and not is_parametrized(m, "weight"):
        nn.init.kaiming_normal_(m.weight)
    for child in m.children():
        init_cnn(child)


def icnr_init(x: Tensor, scale: int = 2, init: Init = nn.init.kaiming_normal_) -> Tensor:
    """Weights for a convolution before `nn.PixelShuffle(scale)`, in the shape of `x`.

    The `scale ** 2` filters that make one larger pixel begin equal, so no checkerboard shows.

    >>> weight = icnr_init(torch.zeros(8, 3, 1, 1))
    >>> torch.equal(weight[0], weight[3]), torch.equal(weight[3], weight[4])
    (True, False)
    """
    n_out = x.shape[0]
    if n_out % scale**2:
        raise ValueError(
            f"`icnr_init` with scale={scale} needs a multiple of {scale**2} filters, got {n_out}"
        )
    filters = x.new_zeros(n_out // scale**2, *x.shape[1:])
    init(filters)
    return filters.repeat_interleave(scale**2, dim=0)


def trunc_normal_(x: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Fill `x` with normal values, what lies beyond two `std` folded back.

    >>> bool((trunc_normal_(torch.empty(1000), std=0.1).abs() <= 0.2).all())
    True
    """
    with torch.no_grad():
        return x.normal_().fmod_(2).mul_(std).add_(mean)
