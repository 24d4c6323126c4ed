"""Random numbers for each sample of a batch, drawn where the batch lies."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Draw = float | Sequence[float] | Callable[[Tensor], Tensor | float]
"""What may stand for a random number: one for all, one for each sample, or made from the images."""


def uniform(x: Tensor, low: float, high: float, *, batch: bool = False) -> Tensor:
    """A number between `low` and `high` for each sample of `x`; with `batch`, one for all.

    >>> drawn = uniform(torch.zeros(5, 3, 8, 8), 2.0, 3.0, batch=True)
    >>> drawn.shape, bool((drawn == drawn[0]).all())
    (torch.Size([5]), True)
    """
    n = x.shape[0]
    drawn = torch.rand(1 if batch else n, device=x.device) * (high - low) + low
    return drawn.expand(n) if batch else drawn


def given(x: Tensor, draw: Draw) -> Tensor:
    """The numbers a user chose, one for each sample.

    >>> given(torch.zeros(2, 3, 8, 8), [0.5, 1.0, 2.0]).tolist()
    [0.5, 1.0]
    """
    n = x.shape[0]
    values = draw(x) if callable(draw) else draw
    if isinstance(values, Tensor):
        return values.to(x.device, torch.float32).expand(n)
    if isinstance(values, Sequence):
        if len(values) < n:
            raise ValueError(
                f"`draw` has {len(values)} numbers for a batch of {n}; give one for each sample"
            )
        return torch.tensor(values[:n], dtype=torch.float32, device=x.device)
    return torch.full((n,), float(values), device=x.device)


def drawn(x: Tensor, draw: Draw | None, low: float, high: float, *, batch: bool = False) -> Tensor:
    """What a user chose, else numbers between `low` and `high`.

    >>> drawn(torch.zeros(2, 3, 8, 8), 0.5, 2.0, 3.0).tolist()
    [0.5, 0.5]
    """
    return uniform(x, low, high, batch=batch) if draw is None else given(x, draw)


def masked(x: Tensor, values: Tensor, p: float, neutral: float, *, batch: bool = False) -> Tensor:
    """The values for the part `p` of the samples, and `neutral` for the others.

    >>> masked(torch.zeros(3, 1, 2, 2), torch.ones(3), 0.0, neutral=7.0).tolist()
    [7.0, 7.0, 7.0]
    """
    if p == 1:
        return values
    return torch.where(uniform(x, 0.0, 1.0, batch=batch) < p, values, neutral)


def check_chance(p: float) -> None:
    """Refuse a probability outside 0 to 1."""
    if not 0 <= p <= 1:
        raise ValueError(f"`p` is the part of the images that is changed, 0 to 1; got {p}")
