"""Precision, recall, F, Dice and Jaccard: fractions of three counts of each class."""

from abc import abstractmethod
from typing import Literal

import torch
from torch import Tensor

from learnlite.metrics.base import DeviceSum, Metric
from learnlite.metrics.functions import wide
from learnlite.shapes import class_axis, labels_like, like_pred, shape_of

Average = Literal["binary", "micro", "macro", "weighted"]


class _CountMetric(Metric):
    """A fraction of the counts hit, said and there of each class.

    `hit` is how often the class was rightly said, `said` how often it was predicted, `there` how
    often it was the label.
    """

    _averages: tuple[str, ...] = ("binary", "micro", "macro", "weighted")

    def __init__(self, axis: int, average: str, name: str | None) -> None:
        if average not in self._averages:
            named = ", ".join(f'"{known}"' for known in self._averages)
            raise ValueError(f"`average` must be one of {named}; got {average!r}")
        self.axis = axis
        self.average = average
        super().__init__(name)

    @abstractmethod
    def fraction(self, hit: Tensor, said: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        """Numerator and denominator of the metric for each class."""

    def reset(self) -> None:
        self._counts = DeviceSum()

    def compute(self) -> Tensor:
        counts = self._counts.value()
        if counts.ndim == 0:
            return counts / 0  # no batch: NaN
        hit, said, there = counts.unbind()
        above, below = self.fraction(hit, said, there)
        if self.average == "binary":
            return _ratio(above, below)[self._chosen()]
        if self.average == "micro":
            return _ratio(above.sum(), below.sum())
        ratios = _ratio(above, below)
        weights = there if self.average == "weighted" else self._present(said, there)
        return _ratio((ratios * weights).sum(), weights.sum())

    def _chosen(self) -> int:
        return 1

    def _present(self, said: Tensor, there: Tensor) -> Tensor:
        """Which classes a plain mean is over: those that occur."""
        return ((said + there) > 0).to(said.dtype)

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(axis={self.axis}, average={self.average!r}, name={self.name!r})"
        )


class _LabelMetric(_CountMetric):
    """For one class an item: the largest output along `axis` against the label.

    `average="binary"` looks at the class `pos_label` of two; "macro" is the mean over the classes
    that occur, "weighted" counts each by its items, "micro" counts all items alike. Labels of
    `ignore_index` are left out. A fraction of nothing is 0.
    """

    def __init__(
        self,
        axis: int = -1,
        pos_label: int = 1,
        average: Average = "binary",
        *,
        ignore_index: int = -100,
        name: str | None = None,
    ) -> None:
        if average == "binary" and pos_label not in (0, 1):
            raise ValueError(f'`pos_label` must be 0 or 1 with `average="binary"`, got {pos_label}')
        self.pos_label = pos_label
        self.ignore_index = ignore_index
        super().__init__(axis, average, name)

    def update(self, pred: Tensor, targ: Tensor, *more: Tensor) -> None:
        targ = labels_like(pred, targ, self.axis, self.name).reshape(-1)
        n_classes = pred.shape[self.axis]
        if n_classes == 1 or (self.average == "binary" and n_classes > 2):
            raise ValueError(self._unfit(pred))
        said = pred.argmax(dim=self.axis).reshape(-1)
        # Labels that are no class go to a bin of their own: nothing is looked up, nothing waits.
        kept = targ != self.ignore_index
        is_class = kept & (targ >= 0) & (targ < n_classes)
        labels = torch.where(is_class, targ, n_classes)
        said = torch.where(kept, said, n_classes)
        places = torch.stack([torch.where(said == labels, labels, n_classes), said, labels])
        counts = torch.zeros(3, n_classes + 1, dtype=torch.int64, device=pred.device)
        self._counts.add(counts.scatter_add_(1, places, torch.ones_like(places))[:, :n_classes])

    def _chosen(self) -> int:
        return self.pos_label

    def _unfit(self, pred: Tensor) -> str:
        n_classes = pred.shape[self.axis]
        given = f"got {n_classes} (shape {shape_of(pred)}, axis {self.axis})"
        if n_classes == 1:
            advice = "for yes or no by one output use `F1ScoreMulti()`"
            return f"`{self.name}` needs an output per class, {given}; {advice}"
        return f'`{self.name}` of one class of two needs 2 outputs, {given}; pass `average="macro"`'


class _MultiMetric(_CountMetric):
    """For several labels an item: each output along `axis` above `thresh` against its own 0 or 1.

    "macro" is the mean over all labels, "weighted" counts each by how often it is there, "micro"
    counts all outputs alike. A fraction of nothing is 0.
    """

    _averages = ("micro", "macro", "weighted")

    def __init__(
        self,
        thresh: float = 0.5,
        sigmoid: bool = True,
        average: Literal["micro", "macro", "weighted"] = "macro",
        *,
        axis: int = -1,
        name: str | None = None,
    ) -> None:
        self.thresh = thresh
        self.sigmoid = sigmoid
        super().__init__(axis, average, name)

    def update(self, pred: Tensor, targ: Tensor, *more: Tensor) -> None:
        there = like_pred(pred, targ, self.name).bool()
        said = (wide(pred).sigmoid() if self.sigmoid else pred) > self.thresh
        axis = class_axis(pred, self.axis, self.name)
        counts = torch.stack([said & there, said, there]).movedim(axis + 1, 1)
        self._counts.add(counts.flatten(2).sum(2))

    def _present(self, said: Tensor, there: Tensor) -> Tensor:
        return torch.ones_like(said)


class _PrecisionFraction(_CountMetric):
    def fraction(self, hit: Tensor, said: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        return hit, said


class _RecallFraction(_CountMetric):
    def fraction(self, hit: Tensor, said: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        return hit, there


class _FFraction(_CountMetric):
    beta: float = 1.0

    def fraction(self, hit: Tensor, said: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        squared = self.beta**2
        return (1 + squared) * hit, squared * there + said


class _JaccardFraction(_CountMetric):
    def fraction(self, hit: Tensor, said: Tensor, there: Tensor) -> tuple[Tensor, Tensor]:
        return hit, said + there - hit


class Precision(_PrecisionFraction, _LabelMetric):
    """Of the items said to be of the class, the share that are.

    >>> Precision()(torch.tensor([[0.0, 1.0], [0.0, 1.0]]), torch.tensor([1, 0])).item()
    0.5
    """

    name = "precision_score"


class Recall(_RecallFraction, _LabelMetric):
    """Of the items of the class, the share that was found.

    >>> Recall()(torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 1])).item()
    0.5
    """

    name = "recall_score"


class F1Score(_FFraction, _LabelMetric):
    """The harmonic mean of precision and recall.

    >>> pred, targ = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 0, 0])
    >>> round(F1Score()(pred, targ).item(), 4)
    0.6667
    """


class FBeta(_FFraction, _LabelMetric):
    """The harmonic mean of precision and recall, recall counting `beta` times as much.

    >>> pred, targ = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 0.0]]), torch.tensor([1, 0, 0])
    >>> round(FBeta(2.0)(pred, targ).item(), 4)
    0.8333
    """

    name = "fbeta_score"

    def __init__(
        self,
        beta: float,
        axis: int = -1,
        pos_label: int = 1,
        average: Average = "binary",
        *,
        ignore_index: int = -100,
        name: str | None = None,
    ) -> None:
        self.beta = beta
        super().__init__(axis, pos_label, average, ignore_index=ignore_index, name=name)


class PrecisionMulti(_PrecisionFraction, _MultiMetric):
    """`Precision` for several labels an item.

    >>> PrecisionMulti()(torch.tensor([[2.0, 2.0]]), torch.tensor([[1, 0]])).item()
    0.5
    """

    name = "precision_score"


class RecallMulti(_RecallFraction, _MultiMetric):
    """`Recall` for several labels an item.

    >>> RecallMulti()(torch.tensor([[2.0, -2.0]]), torch.tensor([[1, 1]])).item()
    0.5
    """

    name = "recall_score"


class F1ScoreMulti(_FFraction, _MultiMetric):
    """`F1Score` for several labels an item.

    >>> F1ScoreMulti()(torch.tensor([[2.0, -2.0]]), torch.tensor([[1, 1]])).item()
    0.5
    """

    name = "f1_score"


class FBetaMulti(_FFraction, _MultiMetric):
    """`FBeta` for several labels an item.

    >>> FBetaMulti(2.0)(torch.tensor([[2.0, -2.0]]), torch.tensor([[1, 1]])).item()
    0.5
    """

    name = "fbeta_score"

    def __init__(
        self,
        beta: float,
        thresh: float = 0.5,
        sigmoid: bool = True,
        average: Literal["micro", "macro", "weighted"] = "macro",
        *,
        axis: int = -1,
        name: str | None = None,
    ) -> None:
        self.beta = beta
        super().__init__(thresh, sigmoid, average, axis=axis, name=name)


class Dice(_FFraction, _LabelMetric):
    """Twice the overlap over the sum of both areas, of the class 1 in masks of two classes.

    >>> pred = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 1.0]]]).unsqueeze(0)
    >>> round(Dice()(pred, torch.tensor([[[0, 0, 1]]])).item(), 4)
    0.6667
    """

    def __init__(self, axis: int = 1, *, ignore_index: int = -100, name: str | None = None) -> None:
        super().__init__(axis, ignore_index=ignore_index, name=name)

    def _unfit(self, pred: Tensor) -> str:
        return _use_multi(self.name, "DiceMulti", pred, self.axis)


class DiceMulti(_FFraction, _LabelMetric):
    """The mean of `Dice` over the classes that occur.

    >>> pred = torch.eye(3)[torch.tensor([[0, 1, 2]])].movedim(-1, 1)
    >>> DiceMulti()(pred, torch.tensor([[0, 1, 2]])).item()
    1.0
    """

    def __init__(self, axis: int = 1, *, ignore_index: int = -100, name: str | None = None) -> None:
        super().__init__(axis, average="macro", ignore_index=ignore_index, name=name)


class JaccardCoeff(_JaccardFraction, _LabelMetric):
    """The overlap over the joint area (IoU), of the class 1 in masks of two classes.

    >>> pred = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, 1.0, 1.0]]]).unsqueeze(0)
    >>> JaccardCoeff()(pred, torch.tensor([[[0, 0, 1]]])).item()
    0.5
    """

    def __init__(self, axis: int = 1, *, ignore_index: int = -100, name: str | None = None) -> None:
        super().__init__(axis, ignore_index=ignore_index, name=name)

    def _unfit(self, pred: Tensor) -> str:
        return _use_multi(self.name, "JaccardCoeffMulti", pred, self.axis)


class JaccardCoeffMulti(_JaccardFraction, _LabelMetric):
    """The mean of `JaccardCoeff` over the classes that occur (mean IoU).

    >>> pred = torch.eye(3)[torch.tensor([[0, 1, 2]])].movedim(-1, 1)
    >>> JaccardCoeffMulti()(pred, torch.tensor([[0, 1, 2]])).item()
    1.0
    """

    def __init__(self, axis: int = 1, *, ignore_index: int = -100, name: str | None = None) -> None:
        super().__init__(axis, average="macro", ignore_index=ignore_index, name=name)


def _use_multi(name: str, multi: str, pred: Tensor, axis: int) -> str:
    given = f"got {pred.shape[axis]} (shape {shape_of(pred)}, axis {axis})"
    use = "F1ScoreMulti(axis=1)" if pred.shape[axis] == 1 else f"{multi}()"
    return f"`{name}` needs 2 outputs, background and object, {given}; use `{use}`"


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    """Exact in float64 where the device has it; a fraction of nothing is 0."""
    kind = torch.float32 if above.device.type == "mps" else torch.float64
    return torch.where(below == 0, 0.0, above.to(kind) / torch.where(below == 0, 1, below).to(kind))
