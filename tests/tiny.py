"""Tiny problems that the tests share."""

import torch
from torch import nn

from learnlite import DataLoaders, Learner


def linear_learner(cbs=(), n_train=2, n_valid=1, bs=4, **kwargs):
    """A linear regression on lists of batches, without default callbacks unless asked for."""
    x = torch.randn(bs * max(n_train, n_valid), 3)
    y = x.sum(1, keepdim=True)
    batches = [(x[i : i + bs], y[i : i + bs]) for i in range(0, len(x), bs)]
    dls = DataLoaders(batches[:n_train], batches[:n_valid] or None, device="cpu")
    kwargs = {"loss_func": nn.MSELoss(), "lr": 0.01, "default_cbs": False} | kwargs
    return Learner(dls, nn.Linear(3, 1), cbs=cbs, **kwargs)


def digits_loaders(n=256, bs=32, **kwargs):
    """Four classes in 8 dimensions, easy enough to learn in a few batches, in our own loader."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(4, (n,), generator=generator)
    x = torch.randn(n, 8, generator=generator) + 2 * nn.functional.one_hot(y, 8)
    k = n * 3 // 4
    return DataLoaders.from_tensors((x[:k], y[:k]), (x[k:], y[k:]), bs=bs, device="cpu", **kwargs)


def net(dropout=0.0):
    return nn.Sequential(
        nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(dropout), nn.Linear(16, 4)
    )


def silent(learn):
    """The learner without bar and rows."""
    learn.remove_cb([cb for cb in learn.cbs if type(cb).__name__ in ("ProgressBar",)])
    return learn
