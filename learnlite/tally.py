"""Counting what happens on the device without waiting for it: losses, means, metrics, one read."""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from learnlite.data.batch import map_batch
from learnlite.metrics import Metric

_CHUNK = 256  # losses stacked into one tensor: few small tensors on the device, no read


class Smoothed:
    """An exponentially weighted mean without the bias towards its start.

    >>> smoothed = Smoothed(beta=0.5)
    >>> [round(smoothed.add(value), 3) for value in (1.0, 2.0, 2.0)]
    [1.0, 1.667, 1.857]
    """

    def __init__(self, beta: float = 0.98) -> None:
        self.beta = beta
        self._sum = 0.0
        self._weight = 0.0

    def add(self, value: float) -> float:
        """Take in `value`; gives the mean so far."""
        self._sum = self.beta * self._sum + (1 - self.beta) * value
        self._weight = self.beta * self._weight + (1 - self.beta)
        return self.mean

    @property
    def mean(self) -> float:
        """The mean so far; nan before the first value."""
        return self._sum / self._weight if self._weight else float("nan")


class LossLog:
    """Losses of batches, taken in without waiting for the device, read in one go."""

    def __init__(self) -> None:
        self._read: list[float] = []
        self._chunks: list[Tensor] = []
        self._pending: list[Tensor] = []

    def add(self, loss: Tensor) -> None:
        """Take in the loss of a batch, a tensor of one element on any device."""
        self._pending.append(loss.detach())
        if len(self._pending) >= _CHUNK:
            self._stack()

    def restore(self, values: list[float]) -> None:
        """Begin anew with these."""
        self._read, self._chunks, self._pending = list(values), [], []

    def values(self) -> list[float]:
        """All losses so far: the list itself, which grows."""
        self._stack()
        for chunk in self._chunks:
            self._read += (
                chunk.tolist()
            )  # host sync: asked for by the bar, the epoch's end or the user
        self._chunks.clear()
        return self._read

    def drain(self) -> list[float]:
        """The losses since this was asked for last; they are forgotten here."""
        values, self._read = self.values(), []
        return values

    def _stack(self) -> None:
        if self._pending:
            self._chunks.append(torch.stack(self._pending).reshape(-1).float())
            self._pending.clear()


class MeanLoss:
    """The mean loss over samples, kept on the device."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.reset()

    def reset(self) -> None:
        self._sum: Tensor | None = None
        self.samples = 0

    def add(self, loss: Tensor, samples: int) -> None:
        loss = loss.detach()
        if self._sum is None:
            exact = torch.float32 if loss.device.type == "mps" else torch.float64
            self._sum = torch.zeros((), dtype=exact, device=loss.device)
        self._sum.add_(loss.reshape(()), alpha=samples)
        self.samples += samples

    def state_dict(self) -> dict[str, Any]:
        """The sum so far."""
        return {"sum": self._sum, "samples": self.samples}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self._sum, self.samples = state["sum"], state["samples"]

    def compute(self) -> Tensor:
        return torch.tensor(float("nan")) if self._sum is None else self._sum / self.samples


class Clock:
    """Says when to look at the device again: the first time, then every `interval` seconds.

    >>> clock = Clock(interval=3600)
    >>> clock.due(), clock.due()
    (True, False)
    """

    def __init__(self, interval: float = 0.2) -> None:
        self.interval = interval
        self._next = 0.0

    def due(self) -> bool:
        now = time.perf_counter()
        if now < self._next:
            return False
        self._next = now + self.interval
        return True


def update_metrics(metrics: Sequence[Metric], pred: Any, yb: tuple[Any, ...]) -> None:
    """Give a batch to every metric; one that fails is named."""
    if not metrics:
        return
    detached = map_batch(pred, Tensor.detach)
    for metric in metrics:
        try:
            metric.update(detached, *yb)
        except Exception as error:
            shapes = ", ".join(str(tuple(t.shape)) for t in (pred, *yb) if isinstance(t, Tensor))
            error.add_note(
                f"raised by the metric `{metric.name}`, given prediction and target "
                f"of shapes {shapes}"
            )
            raise


def read_together(values: list[Any]) -> list[float]:
    """Bring numbers from wherever they are, with one read for all that lie on one device."""
    tensors = [torch.as_tensor(value).detach().reshape(()) for value in values]
    if not tensors:
        return []
    device = tensors[0].device
    wide = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
    return torch.stack([t.to(device, wide) for t in tensors]).tolist()  # host sync: one per epoch
