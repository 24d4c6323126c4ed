"""What a model's outputs mean, told by the loss it is trained with: ours, torch's or a user's."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnlite.losses.classes import ClassLoss
from learnlite.losses.items import BCEWithLogitsLossFlat

_CLASSES = (nn.CrossEntropyLoss, F.cross_entropy)
_LOG_CLASSES = (nn.NLLLoss, F.nll_loss)
_LABELS = (nn.BCEWithLogitsLoss, F.binary_cross_entropy_with_logits, nn.MultiLabelSoftMarginLoss)
_CHANCES = (nn.BCELoss, F.binary_cross_entropy)
_MARGINS = (nn.MultiMarginLoss, F.multi_margin_loss)
_ROUNDING = 1e-2  # how far from 1 the probabilities of an item may sum, in half precision


def activation_of(loss_func: Any) -> Callable[[Any], Any]:
    """What makes probabilities, or numbers, of the outputs: the loss's own `activation`, if any.

    >>> activation_of(F.cross_entropy)(torch.zeros(1, 2))
    tensor([[0.5000, 0.5000]])
    """
    own = getattr(loss_func, "activation", None)
    if own is not None:
        check_activation(own, "the loss's `activation`")
        return own if _is_users(loss_func) else _on_tensors(own)
    if _is_one_of(loss_func, _CLASSES):
        return _on_tensors(_softmax)
    if _is_one_of(loss_func, _LOG_CLASSES):
        return _on_tensors(torch.exp)
    return _on_tensors(torch.sigmoid) if _is_one_of(loss_func, _LABELS) else _same


def check_activation(act: Any, name: str = "`act`") -> None:
    """Refuse what cannot be called with outputs.

    >>> check_activation(nn.Softmax)
    Traceback (most recent call last):
    ...
    TypeError: `act` is called with outputs, as `torch.nn.Softmax(1)` is, got the class `Softmax`; \
call it: `Softmax(…)`
    """
    if isinstance(act, type):
        raise TypeError(
            f"{name} is called with outputs, as `torch.nn.Softmax(1)` is, got the class "
            f"`{act.__name__}`; call it: `{act.__name__}(…)`"
        )
    if not callable(act):
        raise TypeError(
            f"{name} is called with outputs, as `torch.nn.Softmax(1)` is, got {act!r}; give a "
            "function or a module"
        )


def tells_activation(loss_func: Any) -> bool:
    """Whether it is known what the outputs of a model that is trained with this loss mean.

    >>> tells_activation(F.cross_entropy), tells_activation(lambda pred, targ: pred.mean())
    (True, False)
    """
    known = (*_CLASSES, *_LOG_CLASSES, *_LABELS, *_CHANCES)
    return hasattr(loss_func, "activation") or _is_one_of(loss_func, known)


def are_probabilities(preds: Any, targets: Any = None) -> bool:
    """Whether predictions may be probabilities: of classes, rows that sum to 1; else from 0 to 1.

    `targets` is the loss that the data calls for, which tells of several labels an item.

    >>> [are_probabilities(torch.tensor([row])) for row in ([0.2, 0.8], [3.0, -2.0])]
    [True, False]
    """
    if not isinstance(preds, Tensor) or not preds.is_floating_point() or preds.ndim < 2:
        return False
    lowest, highest = torch.aminmax(preds) if preds.numel() else (0.0, 0.0)
    if not (lowest >= 0 and highest <= 1 + _ROUNDING):
        return False
    sums = preds.sum(1)
    return isinstance(targets, BCEWithLogitsLossFlat) or bool(((sums - 1).abs() < _ROUNDING).all())


def decodes_of(loss_func: Any, usual: Any = None) -> Callable[[Any], Any]:
    """What makes labels, or numbers, of what `activation_of` gave.

    A loss that nobody knows is taken as the one `usual` for the data, if that is for labels: the
    largest output is the class, of several labels those above 0.5. A tuple is for several outputs.

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
    if isinstance(usual, tuple):
        return _each([decodes_of(None, one) for one in cast("tuple[Any, ...]", usual)])
    if isinstance(usual, ClassLoss):
        return _on_tensors(partial(_largest, usual.axis))
    return _on_tensors(_likely) if isinstance(usual, BCEWithLogitsLossFlat) else _same


def _each(functions: list[Callable[[Any], Any]]) -> Callable[[Any], Any]:
    """Each of several outputs by its own function."""

    def changed(preds: Any) -> Any:
        if not isinstance(preds, tuple) or len(cast("tuple[Any, ...]", preds)) != len(functions):
            return preds
        return tuple(one(pred) for one, pred in zip(functions, preds, strict=True))

    return changed


def _largest(axis: int, pred: Tensor) -> Tensor:
    """The class with the largest output; a single one says yes or no."""
    if not pred.is_floating_point() or not -pred.ndim <= axis < pred.ndim or pred.ndim < 2:
        return pred
    return _likely(pred) if pred.shape[axis] == 1 else pred.argmax(dim=axis)


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
    classes = tuple(one for one in known if isinstance(one, type))
    return isinstance(loss_func, classes) or any(loss_func is one for one in known)


def _softmax(pred: Tensor) -> Tensor:
    return F.softmax(pred, dim=min(1, pred.ndim - 1))


def _likeliest(pred: Tensor) -> Tensor:
    return pred.argmax(dim=min(1, pred.ndim - 1))


def _likely(pred: Tensor) -> Tensor:
    return pred > 0.5


def _same(pred: Any) -> Any:
    return pred
