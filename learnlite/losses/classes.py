"""Losses of outputs (logits) of one class each, for labels and for probabilities of classes."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from learnlite.losses.base import HALF, FlatLoss
from learnlite.shapes import class_axis, labels_like, shape_of
from learnlite.types import check_number

_INT64 = torch.int64


class ClassLoss(FlatLoss):
    """A loss of outputs (logits), one a class; targets are labels or probabilities of classes."""

    def __init__(
        self,
        axis: int,
        weight: Tensor | Sequence[float] | None,
        reduction: str,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(axis, weight, reduction)
        self.ignore_index = ignore_index

    def activation(self, pred: Tensor) -> Tensor:
        """The probabilities of the classes."""
        return F.softmax(pred, dim=self.axis)

    def decodes(self, pred: Tensor) -> Tensor:
        """The most probable class."""
        return pred.argmax(dim=self.axis)

    def matched(self, pred: Tensor, targ: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs with the classes on axis 1, and labels or probabilities in the matching shape."""
        name = type(self).__name__
        axis = class_axis(pred, self.axis, name)
        n_classes = pred.shape[axis]
        if targ.is_floating_point():
            if targ.shape != pred.shape:
                raise ValueError(
                    f"`{name}` wants integer labels, or probabilities in the shape of the outputs "
                    f"{shape_of(pred)}; got {targ.dtype} of shape {shape_of(targ)}; for labels "
                    "give `targ.long()`, for numbers use `MSELossFlat()`"
                )
            targ = _by_class(targ if targ.dtype is not torch.float64 else targ.to(pred.dtype), axis)
        else:
            targ = labels_like(pred, targ, axis, name)
            if axis == pred.ndim - 1:
                targ = targ.reshape(-1)
        weight = self.weight
        if weight is not None and weight.shape != (n_classes,):
            raise ValueError(
                f"`weight` needs a number for each of {n_classes} outputs, got the shape "
                f"{shape_of(weight)}"
            )
        return _by_class(pred, axis), targ

    def _usual(self) -> dict[str, object]:
        return {**super()._usual(), "ignore_index": -100}

    def _cross_entropy(self, pred: Tensor, targ: Tensor, smoothing: float) -> Tensor:
        if (  # the usual cases go straight to torch: half a microsecond instead of ten
            pred.ndim == 2
            and (
                (targ.dtype is _INT64 and targ.ndim == 1 and self.ignore_index == -100)
                or (targ.dtype is pred.dtype and targ.shape == pred.shape)
            )
            and ((axis := self.axis) == -1 or axis == 1)
            and self.weight is None
        ):
            if smoothing and targ.dtype is not _INT64:
                targ, smoothing = _smoothed(targ, smoothing), 0.0
            return F.cross_entropy(pred, targ, None, None, -100, None, self.reduction, smoothing)
        shape = pred.shape
        pred, targ = self.matched(pred, targ)
        soft = targ.is_floating_point()
        weight = self._buffer_for("weight", pred)
        if weight is not None:
            weight = weight.to(torch.promote_types(pred.dtype, targ.dtype) if soft else pred.dtype)
        loss = F.cross_entropy(
            pred,
            _smoothed(targ, smoothing) if soft and smoothing else targ,
            weight,
            ignore_index=-100 if soft else self.ignore_index,  # torch takes no other for floats
            reduction=self.reduction,
            label_smoothing=0.0 if soft else smoothing,
        )
        if self.reduction == "none":
            return loss.reshape(_without(shape, self.axis))
        if self.reduction == "sum":
            return loss
        if not soft:
            return torch.where((targ != self.ignore_index).any(), loss, 0.0)
        if weight is None:
            return loss
        # torch divides by the number of items here, but by their weights where labels are integers.
        shares = targ.movedim(1, -1) @ weight.to(targ.dtype)
        return loss / shares.mean()


class CrossEntropyLossFlat(ClassLoss):
    """Cross entropy between outputs and labels, or probabilities of classes, on any axis.

    Equal to `nn.CrossEntropyLoss`, but for what that leaves undone: with `weight`, the mean over
    probabilities divides by the weights they carry, so that one-hot rows and labels agree; where
    all of a batch is ignored, the loss is 0 with a gradient (torch's NaN stays in one case, for
    speed: no weight, outputs (items, classes) and the usual `ignore_index`).

    >>> outputs = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    >>> round(CrossEntropyLossFlat()(outputs, torch.tensor([0, 1])).item(), 4)
    0.41
    >>> CrossEntropyLossFlat(axis=1)(torch.zeros(4, 10, 8, 8), torch.zeros(4, 8, 8).long()).shape
    torch.Size([])
    """

    def __init__(
        self,
        axis: int = -1,
        weight: Tensor | Sequence[float] | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(axis, weight, reduction, ignore_index)
        self.label_smoothing = _checked_share("label_smoothing", label_smoothing)

    def forward(self, pred: Tensor, targ: Tensor) -> Tensor:
        return self._cross_entropy(pred, targ, self.label_smoothing)

    def _usual(self) -> dict[str, object]:
        return {**super()._usual(), "label_smoothing": 0.0}


class LabelSmoothingCrossEntropy(ClassLoss):
    """Cross entropy with labels that leave a share `eps` to doubt, for a model less sure of itself.

    - `spread="all"`: the label gets 1 - eps + eps/K, every other class eps/K (torch's way).
    - `spread="others"`: the label gets 1 - eps, every other class eps/(K - 1) (Bag of Tricks): the
      best outputs then differ by log((K - 1)(1 - eps)/eps).

    Probabilities (from mixup, say) are smoothed in the same way, each class as if it were the
    label; a row of zeros, as of a label that is ignored, stays one. `weight` acts on what is
    smoothed, and the mean divides by the weights before smoothing, as torch does.

    >>> loss = LabelSmoothingCrossEntropy(0.1)
    >>> outputs, labels = torch.randn(8, 10), torch.randint(10, (8,))
    >>> torch.equal(loss(outputs, labels), F.cross_entropy(outputs, labels, label_smoothing=0.1))
    True
    """

    def __init__(
        self,
        eps: float = 0.1,
        weight: Tensor | Sequence[float] | None = None,
        reduction: str = "mean",
        axis: int = -1,
        *,
        spread: Literal["all", "others"] = "all",
        ignore_index: int = -100,
    ) -> None:
        super().__init__(axis, weight, reduction, ignore_index)
        if spread not in ("all", "others"):
            raise ValueError(f'`spread` must be "all" or "others", got {spread!r}')
        self.eps = _checked_share("eps", eps)
        self.spread = spread

    def forward(self, pred: Tensor, targ: Tensor) -> Tensor:
        smoothing = self.eps
        if self.spread == "others":
            n_classes = pred.shape[class_axis(pred, self.axis, type(self).__name__)]
            # eps/(K-1) each is what eps·K/(K-1) shared out among all K gives.
            smoothing *= n_classes / (n_classes - 1) if n_classes > 1 else 0.0
            if smoothing > 1:
                raise ValueError(
                    f"`eps` of {self.eps} leaves the label less than each of {n_classes - 1} others"
                )
        return self._cross_entropy(pred, targ, smoothing)

    def _usual(self) -> dict[str, object]:
        return {"eps": None, **super()._usual(), "spread": "all"}


LabelSmoothingCrossEntropyFlat = LabelSmoothingCrossEntropy  # which is flat too


class FocalLoss(ClassLoss):
    """Cross entropy in which what is right already counts less: (1 - p)^gamma times each item's.

    `gamma=0` is cross entropy, also with `weight` (the paper's alpha). Probabilities as targets mix
    the losses of their classes.

    >>> outputs, labels = torch.randn(8, 3), torch.randint(3, (8,))
    >>> torch.allclose(FocalLoss(gamma=0.0)(outputs, labels), F.cross_entropy(outputs, labels))
    True
    """

    def __init__(
        self,
        gamma: float = 2.0,
        weight: Tensor | Sequence[float] | None = None,
        reduction: str = "mean",
        axis: int = -1,
        *,
        ignore_index: int = -100,
    ) -> None:
        super().__init__(axis, weight, reduction, ignore_index)
        check_number("gamma", gamma)
        if not gamma >= 0:
            raise ValueError(f"`gamma` must be at least 0, got {gamma}")
        self.gamma = gamma

    def forward(self, pred: Tensor, targ: Tensor) -> Tensor:
        shape = pred.shape
        pred, targ = self.matched(pred, targ)
        log_probs = F.log_softmax(pred.float() if pred.dtype in HALF else pred, dim=1)
        weight = self._buffer_for("weight", pred)
        if targ.is_floating_point():
            shares = targ if weight is None else targ * weight.view(-1, *[1] * (targ.ndim - 2))
            losses = (self._focal(log_probs) * shares).sum(1)
            counts = shares.sum(1)
        else:
            valid = targ != self.ignore_index
            labels = torch.where(valid, targ, 0)
            counts = valid.to(log_probs.dtype) * (1.0 if weight is None else weight[labels])
            losses = self._focal(log_probs.gather(1, labels.unsqueeze(1)).squeeze(1)) * counts
        if self.reduction == "none":
            return losses.reshape(_without(shape, self.axis))
        if self.reduction == "sum":
            return losses.sum()
        return losses.sum() / counts.sum().clamp_min(
            torch.finfo(losses.dtype).tiny
        )  # all ignored: 0

    def _focal(self, log_probs: Tensor) -> Tensor:
        wrong = -torch.expm1(log_probs)  # 1 - p, exact also where p is near 1
        return -log_probs * wrong.clamp_min(torch.finfo(wrong.dtype).tiny) ** self.gamma

    def _usual(self) -> dict[str, object]:
        return {"gamma": None, **super()._usual()}


def _by_class(tensor: Tensor, axis: int) -> Tensor:
    """(N, C, …); classes on the last axis are kept there, as rows, which copies nothing."""
    if axis == tensor.ndim - 1:
        return tensor.reshape(-1, tensor.shape[-1])
    return tensor.movedim(axis, 1)


def _smoothed(targ: Tensor, smoothing: float) -> Tensor:
    """Each row with its share of doubt: of what it holds, so that one of zeros stays ignored."""
    doubt = targ.sum(1, keepdim=True).mul_(smoothing / targ.shape[1])
    return torch.add(doubt, targ, alpha=1 - smoothing)


def _without(shape: torch.Size, axis: int) -> tuple[int, ...]:
    axis %= len(shape)
    return shape[:axis] + shape[axis + 1 :]


def _checked_share(name: str, share: float) -> float:
    check_number(name, share)
    if not 0 <= share < 1:
        raise ValueError(f"`{name}` is the share left to doubt, from 0 to below 1; got {share}")
    return share
