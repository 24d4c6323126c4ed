"""Two moons: the smallest problem that no straight line solves."""

import math

import torch
from torch import Tensor


def two_moons(n: int = 1000, noise: float = 0.2, seed: int = 0) -> tuple[Tensor, Tensor]:
    """`n` points, float32 (n, 2), on two half circles that reach into each other, and their class.

    `noise` is the standard deviation of what is added to each coordinate. The points come in random
    order, one half of each class; torch's global generator is left as it is.

    >>> x, y = two_moons(100, noise=0.1)
    >>> x.shape, y.bincount()
    (torch.Size([100, 2]), tensor([50, 50]))
    """
    if n < 2:
        raise ValueError(f"`n` must be at least 2, a point for each moon, got {n}")
    if noise < 0:
        raise ValueError(f"`noise` is a standard deviation and must be at least 0, got {noise}")
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % 2
    angle = math.pi * torch.rand(n, generator=generator)
    upper = torch.stack([angle.cos(), angle.sin()], 1)
    lower = torch.stack([1 - angle.cos(), 0.5 - angle.sin()], 1)
    x = torch.where(y[:, None] == 0, upper, lower)
    x = x + noise * torch.randn(n, 2, generator=generator)
    order = torch.randperm(n, generator=generator)
    return x[order], y[order]
