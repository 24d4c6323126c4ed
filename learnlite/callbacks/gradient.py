"""Gradients: gathered over several batches."""

from collections.abc import Generator
from contextlib import contextmanager

from learnlite.callback import Callback
from learnlite.events import Order


class GradientAccumulation(Callback):
    """Steps once `n_acc` samples have been seen, instead of after every batch.

    The gradient of a step is the mean over the samples of its window, also when batches differ in
    size and in the short last window of an epoch: with `n_acc=64`, four batches of 16 train as one
    of 64 (but for layers that look at the whole batch, such as BatchNorm).
    """

    order = Order.SETUP
    controls = ("n_acc",)

    def __init__(self, n_acc: int = 32) -> None:
        if n_acc < 1:
            raise ValueError(
                f"`n_acc` counts the samples of a step and must be at least 1, got {n_acc}"
            )
        self.n_acc = n_acc

    @contextmanager
    def around_fit(self) -> Generator[None]:
        progress = self.learn.progress
        progress.n_acc = self.n_acc
        try:
            yield
        finally:
            progress.n_acc = None
