"""Metrics that need all predictions at once."""

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from learnlite.metrics.base import Metric, function_name
from learnlite.metrics.functions import wide
from learnlite.shapes import like_pred

Activation = Literal["no", "sigmoid", "softmax", "binarysoftmax"]


class AccumMetric(Metric):
    """A function of all predictions and targets of a pass, kept on the device until its end.

    Predictions pass through `activation` ("sigmoid", "softmax", or "binarysoftmax": the probability
    of the last class), or else `argmax` along `dim_argmax`, and then become whether they reach
    `thresh`. `to_np` gives numpy arrays, `invert_arg` the targets first, as scikit-learn wants:
    `AccumMetric(roc_auc_score, activation="binarysoftmax", to_np=True, invert_arg=True)`.

    >>> def median_error(pred, targ):
    ...     return (pred - targ).abs().median()
    >>> median = AccumMetric(median_error)
    >>> for batch in torch.tensor([[1.0, 2.0], [3.0, 9.0]]):
    ...     median.update(batch, torch.zeros(2))
    >>> median.name, median.compute().item()
    ('median_error', 2.0)
    """

    def __init__(
        self,
        func: Callable[..., Any],
        dim_argmax: int | None = None,
        activation: Activation = "no",
        thresh: float | None = None,
        to_np: bool = False,
        invert_arg: bool = False,
        flatten: bool = True,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        if activation not in ("no", "sigmoid", "softmax", "binarysoftmax"):
            raise ValueError(
                '`activation` must be "no", "sigmoid", "softmax" or "binarysoftmax", '
                f"got {activation!r}"
            )
        self.func = func
        self.dim_argmax = dim_argmax
        self.activation = activation
        self.thresh = thresh
        self.to_np = to_np
        self.invert_arg = invert_arg
        self.flatten = flatten
        self.kwargs = kwargs
        super().__init__(name if name is not None else function_name(func))

    def reset(self) -> None:
        self._preds: list[Tensor] = []
        self._targs: list[Tensor] = []

    def update(self, pred: Tensor, targ: Tensor, *more: Tensor) -> None:
        pred = self._activated(pred.detach())
        targ = targ.detach()
        if self.flatten:
            if pred.numel() != targ.numel():
                raise ValueError(
                    f"`{self.name}` got {tuple(pred.shape)} and {tuple(targ.shape)}; pass "
                    "`dim_argmax=-1` for classes, or `flatten=False` to keep the shapes"
                )
            targ = like_pred(pred, targ, self.name).reshape(-1)
            pred = pred.reshape(-1)
        # Copies: a compiled model or a loader may write the next batch into the same memory.
        self._preds.append(pred.clone())
        self._targs.append(targ.clone())

    def compute(self) -> Tensor:
        if not self._preds:
            return torch.tensor(float("nan"))
        both: list[Any] = [torch.cat(self._preds), torch.cat(self._targs)]
        if self.to_np:
            both = [_to_numpy(tensor) for tensor in both]  # host sync: one per pass
        if self.invert_arg:
            both.reverse()
        value = torch.as_tensor(self.func(*both, **self.kwargs))
        if value.numel() != 1:
            raise ValueError(
                f"`{self.name}` must give one number, got the shape {tuple(value.shape)}"
            )
        return value.detach().reshape(())

    def _activated(self, pred: Tensor) -> Tensor:
        if self.activation == "sigmoid":
            pred = wide(pred).sigmoid()
        elif self.activation != "no":
            axis = -1 if self.dim_argmax is None else self.dim_argmax
            pred = F.softmax(wide(pred), dim=axis)
            if self.activation == "binarysoftmax":
                pred = pred.select(axis, -1)
        elif self.dim_argmax is not None:
            pred = pred.argmax(dim=self.dim_argmax)
        return pred if self.thresh is None else pred >= self.thresh

    def __repr__(self) -> str:
        return f"AccumMetric({self.name})"


def _to_numpy(tensor: Tensor) -> Any:
    return (tensor.float() if tensor.dtype is torch.bfloat16 else tensor).cpu().numpy()
