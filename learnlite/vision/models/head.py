"""What makes classes, or numbers, of a body's feature maps."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from torch import nn

from learnlite.layers import AdaptiveConcatPool2d, Flatten, LinBnDrop, SigmoidRange
from learnlite.types import counted


def create_head(
    nf: int,
    n_out: int,
    lin_ftrs: Sequence[int] | None = None,
    ps: float | Sequence[float] = 0.5,
    pool: bool = True,
    concat_pool: bool = True,
    first_bn: bool = True,
    bn_final: bool = False,
    lin_first: bool = False,
    y_range: tuple[float, float] | None = None,
) -> nn.Sequential:
    """A head for `nf` channels: pooling, linear blocks of `lin_ftrs` features, `n_out` outputs.

    `lin_ftrs` is [512] if not given, and [] for a single linear layer. `ps` is the dropout before
    the last linear layer, half as much before the others; or a list with one for each. Without
    `pool` the head takes vectors. `y_range` are the ends of the range that outputs lie in.

    >>> [type(layer).__name__ for layer in create_head(512, 10)][:5]
    ['AdaptiveConcatPool2d', 'Flatten', 'BatchNorm1d', 'Dropout', 'Linear']
    """
    check_range(y_range)
    for name, count in (("nf", nf), ("n_out", n_out)):
        if count < 1:
            raise ValueError(f"`{name}` must be at least 1, got {count}")
    widths = [2 * nf if pool and concat_pool else nf, *_hidden(lin_ftrs), n_out]
    n_hidden = len(widths) - 2
    drops = _dropouts(ps, n_hidden)
    layers: list[nn.Module] = []
    if pool:
        layers += [AdaptiveConcatPool2d() if concat_pool else nn.AdaptiveAvgPool2d(1), Flatten()]
    if lin_first:
        layers.append(nn.Dropout(drops.pop(0)))
    for i, p in enumerate(drops):
        act = nn.ReLU(inplace=True) if i < n_hidden else None
        bn = first_bn if i == 0 else True
        layers += LinBnDrop(widths[i], widths[i + 1], bn=bn, p=p, act=act, lin_first=lin_first)
    if lin_first:
        layers.append(nn.Linear(widths[-2], n_out))
    if bn_final:
        layers.append(nn.BatchNorm1d(n_out, momentum=0.01))
    if y_range is not None:
        low, high = y_range
        layers.append(SigmoidRange(low, high))
    return nn.Sequential(*layers)


def check_range(y_range: Any) -> None:
    """Refuse as `y_range` what is no pair of numbers, the lower first.

    >>> check_range(5)
    Traceback (most recent call last):
    ...
    ValueError: `y_range` must be a lower and an upper bound, as (0, 5), got 5
    """
    if y_range is None:
        return
    bounds: list[Any] = list(y_range) if isinstance(y_range, tuple | list) else []
    is_pair = len(bounds) == 2 and all(
        isinstance(x, int | float) and not isinstance(x, bool) and isfinite(x) for x in bounds
    )
    if not is_pair or bounds[0] >= bounds[1]:
        raise ValueError(
            f"`y_range` must be a lower and an upper bound, as (0, 5), got {y_range!r}"
        )


def _hidden(lin_ftrs: Sequence[int] | None) -> list[int]:
    if lin_ftrs is None:
        return [512]
    if isinstance(lin_ftrs, int) or any(width < 1 for width in lin_ftrs):
        raise ValueError(
            f"`lin_ftrs` is a list of the features between the linear layers, as [512], "
            f"got {lin_ftrs!r}"
        )
    return list(lin_ftrs)


def _dropouts(ps: float | Sequence[float], n_hidden: int) -> list[float]:
    """The dropout of each linear layer."""
    given: list[float] = list(ps) if isinstance(ps, Sequence) else [ps]
    drops: list[float] = [given[0] / 2] * n_hidden + given if len(given) == 1 else given
    if len(drops) != n_hidden + 1:
        raise ValueError(
            f"`ps` has {counted(len(drops), 'value')}, but the head has "
            f"{counted(n_hidden + 1, 'linear layer')}; give one for each, or a single number"
        )
    if any(not 0 <= p < 1 for p in drops):
        raise ValueError(f"`ps` are shares of features to drop, from 0 to below 1, got {ps!r}")
    return drops
