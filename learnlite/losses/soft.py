"""Labels as probabilities of classes, and whether a loss takes those for what they are."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnlite.losses.base import HALF
from learnlite.losses.classes import ClassLoss
from learnlite.seeds import kept_rng
from learnlite.shapes import class_axis, labels_like


def soft_targets(loss_func: Any, pred: Tensor, targ: Tensor, name: str = "soft_targets") -> Tensor:
    """The target as floats, which can be mixed: labels become rows of 0 and 1, others numbers.

    Integers name classes unless there is one for each output; a label that the loss ignores has no
    1. The shape is that of the outputs, where they are labels.

    >>> soft_targets(F.cross_entropy, torch.zeros(3, 2), torch.tensor([1, 0, -100])).tolist()
    [[0.0, 1.0], [1.0, 0.0], [0.0, 0.0]]
    >>> soft_targets(F.mse_loss, torch.zeros(2, 1), torch.tensor([7, 4])).tolist()
    [7.0, 4.0]
    """
    if targ.is_floating_point():
        return targ
    precise = torch.float64 if pred.dtype is torch.float64 else torch.float32
    if not _is_labels(pred, targ):
        return targ.to(precise)
    axis = class_axis(pred, loss_func.axis if isinstance(loss_func, ClassLoss) else 1, name)
    targ = labels_like(pred, targ, axis, name)
    ignored = _ignored_by(loss_func)
    rows = torch.zeros(pred.shape, dtype=precise, device=pred.device)
    if not 0 <= ignored < pred.shape[axis] and pred.device.type == "cpu":
        try:
            return rows.scatter_(axis, targ.unsqueeze(axis), 1.0)  # half the cost of what follows
        except RuntimeError:
            pass  # there are labels to ignore, or wrong ones, which are named below
    counts = targ != ignored
    labels, ones = (targ * counts).unsqueeze(axis), counts.unsqueeze(axis).to(precise)
    try:
        return rows.scatter_(axis, labels, ones)
    except RuntimeError as error:
        if "out of bounds" not in str(error):
            raise
        raise IndexError(str(error)) from None  # the type that torch's own losses raise


def check_takes_soft(
    loss_func: Any,
    pred: Any,
    preds: Sequence[Any],
    targets: Sequence[Any],
    device: torch.device,
    giver: str,
) -> None:
    """Raise a ValueError unless labels and the same labels as rows of 0 and 1 give the same loss.

    `preds` are the outputs that the targets belong to, `giver` names who makes them soft. It waits
    for the device; random states and the loss stay as they are. Labels to ignore are left out of
    the comparison, as losses differ in what they average over then.

    >>> loss = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 3.0]))
    >>> pred, targ = torch.zeros(2, 2), torch.tensor([0, 1])
    >>> check_takes_soft(loss, pred, [pred], [targ], pred.device, "MixUp")
    Traceback (most recent call last):
    ValueError: `MixUp` gives the loss probabilities of classes, but `CrossEntropyLoss()` takes \
them otherwise than labels: 0.6931 for labels, 1.386 for the same as rows of 0 and 1; \
use `CrossEntropyLossFlat(weight=…)`
    """
    plain = [
        _all_counting(loss_func, pred, targ) for pred, targ in zip(preds, targets, strict=True)
    ]
    soft = [
        soft_targets(loss_func, pred, targ) if isinstance(pred, Tensor) else targ
        for pred, targ in zip(preds, plain, strict=True)
    ]
    if all(new is old for new, old in zip(soft, plain, strict=True)):
        return  # floats already
    with _trial(loss_func, device):
        expected = loss_func(pred, *plain)
    problem = f"`{giver}` gives the loss probabilities of classes, but {shown(loss_func)} "
    try:
        with _trial(loss_func, device):
            given = loss_func(pred, *soft)
    except Exception as error:
        raise ValueError(
            f"{problem}does not take them ({type(error).__name__}: {error}); {_advice(loss_func)}"
        ) from error
    if not _same(expected, given):  # host sync: once a fit
        raise ValueError(
            f"{problem}takes them otherwise than labels: {_listed(expected)} for labels, "
            f"{_listed(given)} for the same as rows of 0 and 1; {_advice(loss_func)}"
        )


def _is_labels(pred: Tensor, targ: Tensor) -> bool:
    return not targ.is_floating_point() and targ.numel() != pred.numel()


def _ignored_by(loss_func: Any) -> int:
    options: Any = loss_func.keywords if isinstance(loss_func, partial) else {}
    return int(options.get("ignore_index", getattr(loss_func, "ignore_index", -100)))


def _all_counting(loss_func: Any, pred: Any, targ: Tensor) -> Tensor:
    """The labels with another in place of the one to ignore."""
    if not isinstance(pred, Tensor) or not _is_labels(pred, targ):
        return targ
    ignored = _ignored_by(loss_func)
    return torch.where(targ == ignored, 1 if ignored == 0 else 0, targ)


@contextmanager
def _trial(loss_func: Any, device: torch.device) -> Generator[None]:
    """Without traces in the loss, in its buffers or in the random states."""
    is_module = isinstance(loss_func, nn.Module)
    owners: list[Any] = list(loss_func.modules()) if is_module else [loss_func]
    slots: list[dict[str, Any]] = [getattr(owner, "__dict__", {}) for owner in owners]
    attributes = [(own, dict(own)) for own in slots]
    buffers = [(b, b._version, b.clone()) for b in loss_func.buffers()] if is_module else []
    try:
        with torch.no_grad(), kept_rng(device):
            yield
    finally:
        for own, kept in attributes:
            own.clear()
            own.update(kept)
        for buffer, version, copy in buffers:
            if buffer._version != version:  # the backward pass may need the others as they are
                buffer.copy_(copy)


def _same(expected: Any, given: Any) -> bool:
    expected, given = torch.as_tensor(expected), torch.as_tensor(given)
    near = 2e-2 if {expected.dtype, given.dtype} & set(HALF) else 1e-3
    return expected.shape == given.shape and torch.allclose(
        expected.float(), given.float(), rtol=near, atol=1e-5, equal_nan=True
    )


def _listed(loss: Any) -> str:
    return ", ".join(f"{value:.4g}" for value in torch.as_tensor(loss).flatten()[:4].tolist())


def shown(loss_func: Any) -> str:
    """A loss for a message: a function by its name, a module as it prints."""
    return f"`{getattr(loss_func, '__name__', None) or repr(loss_func)}`"


def _advice(loss_func: Any) -> str:
    options: Any = loss_func.keywords if isinstance(loss_func, partial) else vars(loss_func)
    function = loss_func.func if isinstance(loss_func, partial) else loss_func
    if isinstance(function, nn.CrossEntropyLoss) or function is F.cross_entropy:
        weighted = getattr(function, "weight", options.get("weight")) is not None
        return f"use `CrossEntropyLossFlat({'weight=…' if weighted else ''})`"
    if isinstance(function, nn.NLLLoss) or function is F.nll_loss:
        return "use `CrossEntropyLossFlat()`, which takes log-probabilities as outputs too"
    return (
        "use `CrossEntropyLossFlat()` for one class an item, `BCEWithLogitsLossFlat()` for several"
    )
