"""Losses that compare number by number: yes or no of each output, and regression."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from learnlite.losses.base import HALF, FlatLoss
from learnlite.shapes import class_axis, like_pred


class ItemLoss(FlatLoss):
    """A loss that compares number by number."""

    def __init__(
        self,
        axis: int,
        floatify: bool,
        weight: Tensor | Sequence[float] | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(axis, weight, reduction)
        self.floatify = floatify

    def matched(self, pred: Tensor, targ: Tensor) -> tuple[Tensor, Tensor]:
        """Both in the shape of the outputs and of one float type."""
        targ = like_pred(pred, targ, type(self).__name__)
        if pred.dtype in HALF:
            pred = pred.float()  # squares of half floats overflow
        if targ.dtype is not pred.dtype:
            if not self.floatify and not targ.is_floating_point():
                raise ValueError(
                    f"`{type(self).__name__}` wants float targets, got {targ.dtype}; "
                    "leave out `floatify=False`"
                )
            targ = targ.to(pred.dtype)
        return pred, targ

    def _usual(self) -> dict[str, object]:
        return {**super()._usual(), "floatify": True}


class BCEWithLogitsLossFlat(ItemLoss):
    """Binary cross entropy of each output with its own 0 or 1: several labels an item, or none.

    `weight` and `pos_weight` hold a number for each output along `axis` (or broadcast, if they have
    more axes); an output counts as yes where its probability is above `thresh`.

    >>> loss = BCEWithLogitsLossFlat()
    >>> outputs = torch.tensor([[3.0, -3.0], [0.0, 2.0]])
    >>> round(loss(outputs, torch.tensor([[1, 0], [0, 1]])).item(), 4)
    0.2293
    >>> loss.decodes(loss.activation(outputs)).tolist()
    [[True, False], [False, True]]
    """

    pos_weight: Tensor | None

    def __init__(
        self,
        axis: int = -1,
        floatify: bool = True,
        thresh: float = 0.5,
        weight: Tensor | Sequence[float] | None = None,
        pos_weight: Tensor | Sequence[float] | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(axis, floatify, weight, reduction)
        self.thresh = thresh
        self._set_buffer("pos_weight", pos_weight)

    def forward(self, pred: Tensor, targ: Tensor) -> Tensor:
        if pred.shape != targ.shape or pred.dtype is not targ.dtype or pred.dtype in HALF:
            pred, targ = self.matched(pred, targ)
        return F.binary_cross_entropy_with_logits(
            pred,
            targ,
            self._along_axis("weight", pred),
            reduction=self.reduction,
            pos_weight=self._along_axis("pos_weight", pred),
        )

    def activation(self, pred: Tensor) -> Tensor:
        """The probability of each label."""
        return torch.sigmoid(pred)

    def decodes(self, pred: Tensor) -> Tensor:
        """Which labels are more probable than `thresh`."""
        return pred > self.thresh

    def _along_axis(self, name: str, pred: Tensor) -> Tensor | None:
        weight = self._buffer_for(name, pred)
        if weight is None or weight.ndim != 1 or weight.numel() == 1 or pred.ndim < 2:
            return weight
        axis = class_axis(pred, self.axis, type(self).__name__)
        return weight.view(-1, *[1] * (pred.ndim - 1 - axis))

    def _usual(self) -> dict[str, object]:
        return {**super()._usual(), "thresh": 0.5, "pos_weight": None}


class MSELossFlat(ItemLoss):
    """The mean squared error, of each output with its own target: (64, 1) and (64,) fit.

    >>> MSELossFlat()(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 4]))
    tensor(2.)
    """

    def __init__(self, axis: int = -1, floatify: bool = True, reduction: str = "mean") -> None:
        super().__init__(axis, floatify, reduction=reduction)

    def forward(self, pred: Tensor, targ: Tensor) -> Tensor:
        if pred.shape != targ.shape or pred.dtype is not targ.dtype or pred.dtype in HALF:
            pred, targ = self.matched(pred, targ)
        return F.mse_loss(pred, targ, reduction=self.reduction)


class L1LossFlat(ItemLoss):
    """The mean absolute error, of each output with its own target: (64, 1) and (64,) fit.

    >>> L1LossFlat()(torch.tensor([[1.0], [2.0]]), torch.tensor([1, 4]))
    tensor(1.)
    """

    def __init__(self, axis: int = -1, floatify: bool = True, reduction: str = "mean") -> None:
        super().__init__(axis, floatify, reduction=reduction)

    def forward(self, pred: Tensor, targ: Tensor) -> Tensor:
        if pred.shape != targ.shape or pred.dtype is not targ.dtype or pred.dtype in HALF:
            pred, targ = self.matched(pred, targ)
        return F.l1_loss(pred, targ, reduction=self.reduction)
