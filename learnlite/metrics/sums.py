"""Metrics of the whole set that follow from a few sums: no prediction is kept."""

import torch
import torch.nn.functional as F
from torch import Tensor

from learnlite.metrics.base import DeviceSum, Metric, share
from learnlite.metrics.functions import mse, wide
from learnlite.shapes import labels_like, like_pred


class Hits(Metric):
    """The share of labels that are hit, `accuracy`, counted in whole numbers: a third of the cost.

    >>> Hits()(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0])).item()
    0.5
    """

    name = "accuracy"

    def __init__(self, axis: int = -1, *, name: str | None = None) -> None:
        self.axis = axis
        super().__init__(name)

    def reset(self) -> None:
        self._hits: Tensor | int = 0
        self._labels = 0

    def update(self, pred: Tensor, targ: Tensor) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]  # one target
        targ = labels_like(pred, targ, self.axis, self.name)
        self._hits = self._hits + (pred.argmax(dim=self.axis) == targ).sum()
        self._labels += targ.numel()

    def compute(self) -> Tensor:
        return share(torch.as_tensor(self._hits), self._labels)


class Misses(Hits):
    """1 - `Hits`: `error_rate`."""

    name = "error_rate"

    def compute(self) -> Tensor:
        return 1 - super().compute()


class RMSE(Metric):
    """The root of the mean squared error of the set (which the mean of roots of batches is not).

    >>> RMSE()(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 6.0])).item() ** 2
    8.000000000000002
    """

    def reset(self) -> None:
        self._errors = DeviceSum()
        self._numbers = 0

    def update(self, pred: Tensor, targ: Tensor, *more: Tensor) -> None:
        targ = like_pred(pred, targ, self.name)
        self._errors.add(F.mse_loss(wide(pred), wide(targ), reduction="sum"))
        self._numbers += pred.numel()

    def compute(self) -> Tensor:
        return share(self._errors.value(), self._numbers).sqrt()


class Perplexity(Metric):
    """The exponential of the mean cross entropy of a token, of all that are not `ignore_index`.

    >>> round(Perplexity()(torch.zeros(2, 5, 10), torch.ones(2, 5).long()).item(), 3)
    10.0
    """

    def __init__(
        self, axis: int = -1, *, ignore_index: int = -100, name: str | None = None
    ) -> None:
        self.axis = axis
        self.ignore_index = ignore_index
        super().__init__(name)

    def reset(self) -> None:
        self._losses = DeviceSum()
        self._tokens = DeviceSum()

    def update(self, pred: Tensor, targ: Tensor, *more: Tensor) -> None:
        targ = labels_like(pred, targ, self.axis, self.name).reshape(-1)
        outputs = wide(pred).movedim(self.axis, -1).reshape(-1, pred.shape[self.axis])
        self._losses.add(
            F.cross_entropy(outputs, targ, ignore_index=self.ignore_index, reduction="sum")
        )
        self._tokens.add((targ != self.ignore_index).sum())

    def compute(self) -> Tensor:
        return share(self._losses.value(), self._tokens.value()).exp()


class R2Score(Metric):
    """The share of the targets' variance that the predictions explain; the mean over columns.

    Mean and squared distances are merged batch by batch, so targets far from 0 lose no digits.

    >>> round(R2Score()(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 2.0, 3.0])).item(), 4)
    0.5
    """

    def reset(self) -> None:
        self._errors = DeviceSum()
        self._spread = DeviceSum()
        self._mean: Tensor | None = None
        self._rows = 0

    def update(self, pred: Tensor, targ: Tensor, *more: Tensor) -> None:
        targ = wide(like_pred(pred, targ, self.name)).detach().reshape(pred.shape[0], -1)
        if targ.device.type != "mps":
            targ = targ.double()
        rows = targ.shape[0]
        mean = targ.mean(0)
        moved = mean - mean if self._mean is None else mean - self._mean
        weight = rows / (self._rows + rows)
        self._errors.add((wide(pred).detach().reshape(targ.shape) - targ).square().sum(0))
        self._spread.add((targ - mean).square().sum(0) + moved.square() * (self._rows * weight))
        self._mean = mean if self._mean is None else self._mean + moved * weight
        self._rows += rows

    def compute(self) -> Tensor:
        errors, spread = self._errors.value(), self._spread.value()
        if not self._rows:
            return errors / 0  # no batch: NaN
        # Targets that are all equal: 1 if they are met, else 0.
        unexplained = torch.where(spread == 0, (errors > 0).to(spread.dtype), errors / spread)
        return 1 - unexplained.mean()


def rmse(pred: Tensor, targ: Tensor) -> Tensor:
    """The root of the mean squared error; as `metrics=` it is that of the whole set (`RMSE`).

    >>> rmse(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 6.0])) ** 2
    tensor(8.0000)
    """
    return mse(pred, targ).sqrt()


def perplexity(pred: Tensor, targ: Tensor, axis: int = -1, *, ignore_index: int = -100) -> Tensor:
    """The exponential of the cross entropy; as `metrics=` that of the whole set.

    >>> round(perplexity(torch.zeros(8, 4), torch.zeros(8).long()).item(), 3)
    4.0
    """
    return Perplexity(axis, ignore_index=ignore_index)(pred, targ)
