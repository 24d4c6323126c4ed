"""What a model's outputs mean, told by the loss it is trained with: ours, torch's or a user's."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnlite.losses.classes import ClassLoss

_CLASSES = (nn.CrossEntropyLoss, F.cross_entropy)
_LOG_CLASSES = (nn.NLLLoss, F.nll_loss)
_LABELS = (nn.BCEWithLogitsLoss, F.binary_cross_entropy_with_logits, nn.MultiLabelSoftMarginLoss)
_CHANCES = (nn.BCELoss, F.binary_cross_entropy)
_MARGINS = (nn.MultiMarginLoss, F.multi_margin_loss)


def activation_of(loss_func: Any) -> Callable[[Any], Any]:
    """What makes probabilities, or numbers, of the outputs: the loss's own `activation`, if any.

    >>> activation_of(F.cross_entropy)(torch.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """
    own = getattr(loss_func, "activation", None)
    if own is not None:
        return own if _is_users(loss_func) else _on_tensors(own)
    if _is_one_of(loss_func, _CLASSES):
        return _on_tensors(_softmax)
    if _is_one_of(loss_func, _LOG_CLASSES):
        return _on_tensors(torch.exp)
    return _on_tensors(torch.sigmoid) if _is_one_of(loss_func, _LABELS) else _same


def decodes_of(loss_func: Any, usual: Any = None) -> Callable[[Any], Any]:
    """What makes labels, or numbers, of what `activation_of` gave.

    A loss that nobody knows is taken as one for classes where that is `usual` for the data.

    >>> decodes_of(nn.CrossEntropyLoss())(torch.tensor([[0.2, 0.8]]))
    tensor([1])
    """
    own = getattr(loss_func, "decodes", None)
    if own is not None:
        return own if _is_users(loss_func) else _on_tensors(own)
    if _is_one_of(loss_func, (*_CLASSES, *_LOG_CLASSES, *_MARGINS)):
        return _on_tensors(_likeliest)
    if _is_one_of(loss_func, (*_LABELS, *_CHANCES)):
        return _on_tensors(_likely)
    return decodes_of(usual) if isinstance(usual, ClassLoss) else _same


def _is_users(loss_func: Any) -> bool:
    """Whether it is a loss of the user's, who knows what its model gives, be it no tensor."""
    return not (type(loss_func).__module__ or "").startswith("learnlite.")


def _on_tensors(function: Callable[[Tensor], Tensor]) -> Callable[[Any], Any]:
    """Outputs that are no tensor stay as they are."""

    def changed(pred: Any) -> Any:
        return function(pred) if isinstance(pred, Tensor) else pred

    return changed


def _is_one_of(loss_func: Any, known: tuple[Any, ...]) -> bool:
    while isinstance(loss_func, partial):
        loss_func = loss_func.func
    return type(loss_func) in known or any(loss_func is one for one in known)


def _softmax(pred: Tensor) -> Tensor:
    return F.softmax(pred, dim=min(1, pred.ndim - 1))


def _likeliest(pred: Tensor) -> Tensor:
    return pred.argmax(dim=min(1, pred.ndim - 1))


def _likely(pred: Tensor) -> Tensor:
    return pred > 0.5


def _same(pred: Any) -> Any:
    return pred
