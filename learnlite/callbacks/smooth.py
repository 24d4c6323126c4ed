"""Label smoothing, for training alone."""

from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

import torch.nn.functional as F
from torch import nn

from learnlite.callback import Callback
from learnlite.losses import CrossEntropyLossFlat, LabelSmoothingCrossEntropy
from learnlite.losses.soft import shown

_KEPT = ("weight", "ignore_index", "reduction")  # arguments of a loss that its smoothed form takes


class LabelSmoothing(Callback):
    """Trains on labels that leave the share `eps` to doubt; validation keeps the plain loss.

    With K classes, `spread="all"` gives the label 1 - eps + eps/K and every class eps/K (torch's
    form), `spread="others"` gives it 1 - eps and the others eps/(K - 1) (Bag of Tricks). The loss
    must be a cross entropy; its weights, axis and the label that it ignores stay. Over mixup the
    mixed labels are smoothed. For labels torch's smoothed loss has more to compute than the plain
    one: on a CPU about 90 µs a batch (over mixup 10).

    >>> import torch
    >>> from learnlite import DataLoaders, Learner
    >>> data = torch.randn(64, 3), torch.randint(2, (64,))
    >>> dls = DataLoaders.from_tensors(data, bs=16, device="cpu")
    >>> learn = Learner(dls, nn.Linear(3, 2), cbs=LabelSmoothing(0.1))
    >>> with learn.no_logging():
    ...     learn.fit(1)
    >>> learn.loss_func
    CrossEntropyLossFlat()
    """

    controls = ("smoothing",)

    _plain: Any = None  # the learner's own loss, while there is another in its place

    def __init__(self, eps: float = 0.1, spread: Literal["all", "others"] = "all") -> None:
        LabelSmoothingCrossEntropy(eps, spread=spread)  # says what is wrong with them
        self.eps = eps
        self.spread: Literal["all", "others"] = spread

    def before_fit(self) -> None:
        self.smoothed(self.learn.loss_func)  # refuses before training what it cannot smooth

    @contextmanager
    def around_train(self) -> Generator[None]:
        learn = self.learn
        plain = learn.loss_func
        try:
            self._plain, learn.loss_func = plain, self.smoothed(plain)
            yield
        finally:
            self._plain, learn.loss_func = None, plain

    @contextmanager
    def around_validate(self) -> Generator[None]:
        learn = self.learn
        before = learn.loss_func
        try:
            if self._plain is not None:  # `learn.validate` in the middle of a training pass
                learn.loss_func = self._plain
            yield
        finally:
            learn.loss_func = before

    def smoothed(self, loss_func: Any) -> LabelSmoothingCrossEntropy:
        """The loss with smoothed labels that is otherwise `loss_func`, a cross entropy.

        >>> LabelSmoothing(0.2).smoothed(nn.CrossEntropyLoss(ignore_index=255))
        LabelSmoothingCrossEntropy(eps=0.2, axis=1, ignore_index=255)
        """
        options = _options(loss_func)
        if options is None:
            raise ValueError(
                f"`{self!r}` smooths the labels of a cross entropy, but the loss is "
                f"{shown(loss_func)}; use `CrossEntropyLossFlat()`, or leave the callback out"
            )
        if options.pop("label_smoothing", 0.0):
            raise ValueError(
                f"`{self!r}` is to smooth labels, but the loss {shown(loss_func)} smooths them "
                "already; leave one of the two out"
            )
        return LabelSmoothingCrossEntropy(self.eps, spread=self.spread, **options)


def _options(loss_func: Any) -> dict[str, Any] | None:
    """The arguments that make the same loss, smoothed; None if it is no cross entropy."""
    if loss_func is F.cross_entropy:
        return {"axis": 1}
    if _is(loss_func, LabelSmoothingCrossEntropy):
        return {"label_smoothing": loss_func.eps}
    ours = _is(loss_func, CrossEntropyLossFlat)
    if ours or _is(loss_func, nn.CrossEntropyLoss):
        options = {name: getattr(loss_func, name) for name in (*_KEPT, "label_smoothing")}
        return {**options, "axis": loss_func.axis if ours else 1}
    if isinstance(loss_func, partial) and loss_func.func is F.cross_entropy and not loss_func.args:
        given: dict[str, Any] = loss_func.keywords
        if set(given) <= {*_KEPT, "label_smoothing"}:
            return {**given, "axis": 1}
    return None


def _is(loss_func: Any, kind: type[nn.Module]) -> bool:
    """Whether it computes as `kind` does: a subclass may have changed that."""
    return isinstance(loss_func, kind) and type(loss_func).forward is kind.forward
