"""Metrics of a batch as functions of (pred, targ); a set averages them by the sizes of batches."""

import torch
import torch.nn.functional as F
from torch import Tensor

from learnlite.shapes import class_axis, labels_like, like_pred


def accuracy(pred: Tensor, targ: Tensor, axis: int = -1) -> Tensor:
    """The share of items, or pixels, whose largest output is at the label.

    >>> accuracy(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
    tensor(0.5000)
    """
    targ = labels_like(pred, targ, axis, "accuracy")
    return (pred.argmax(dim=axis) == targ).float().mean()


def error_rate(pred: Tensor, targ: Tensor, axis: int = -1) -> Tensor:
    """1 - `accuracy`.

    >>> error_rate(torch.tensor([[2.0, 1.0], [0.0, 3.0]]), torch.tensor([0, 0]))
    tensor(0.5000)
    """
    targ = labels_like(pred, targ, axis, "error_rate")
    return (pred.argmax(dim=axis) != targ).float().mean()


def top_k_accuracy(pred: Tensor, targ: Tensor, k: int = 5, axis: int = -1) -> Tensor:
    """The share of items whose label is among the `k` largest outputs.

    >>> top_k_accuracy(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([1]), k=2)
    tensor(1.)
    """
    targ = labels_like(pred, targ, axis, "top_k_accuracy")
    axis = class_axis(pred, axis, "top_k_accuracy")
    if not 1 <= k <= pred.shape[axis]:
        raise ValueError(
            f"`top_k_accuracy` with k={k} needs as many outputs, got {pred.shape[axis]}; "
            "pass `partial(top_k_accuracy, k=…)`"
        )
    best = pred.topk(k, dim=axis).indices
    return (best == targ.unsqueeze(axis)).any(dim=axis).float().mean()


def accuracy_multi(pred: Tensor, targ: Tensor, thresh: float = 0.5, sigmoid: bool = True) -> Tensor:
    """The share of outputs on the right side of `thresh`, for several labels an item.

    >>> accuracy_multi(torch.tensor([[2.0, -1.0]]), torch.tensor([[1, 1]]))
    tensor(0.5000)
    """
    targ = like_pred(pred, targ, "accuracy_multi")
    return ((_probabilities(pred, sigmoid) > thresh) == targ.bool()).float().mean()


def mse(pred: Tensor, targ: Tensor) -> Tensor:
    """The mean squared error.

    >>> mse(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0]))
    tensor(2.)
    """
    return F.mse_loss(wide(pred), wide(like_pred(pred, targ, "mse")))


def mae(pred: Tensor, targ: Tensor) -> Tensor:
    """The mean absolute error.

    >>> mae(torch.tensor([[1.0], [2.0]]), torch.tensor([1.0, 4.0]))
    tensor(1.)
    """
    return F.l1_loss(wide(pred), wide(like_pred(pred, targ, "mae")))


def wide(tensor: Tensor) -> Tensor:
    """As float32, or float64 if it was: half floats and integers would overflow or round."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.float()


def _probabilities(pred: Tensor, sigmoid: bool) -> Tensor:
    return wide(pred).sigmoid() if sigmoid else wide(pred)
