"""Whether targets suit the loss, told before the loss is computed, on the device or not.

torch says "Target 10 is out of bounds", stops the device with an assert, or computes on with what
it broadcast; here the label, the classes and the way out are named.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnlite.losses import BCEWithLogitsLossFlat, ClassLoss, FlatLoss
from learnlite.shapes import shape_of

_CLASSES = (nn.CrossEntropyLoss, nn.NLLLoss)
_YES_NO = (nn.BCEWithLogitsLoss, nn.BCELoss)
_NUMBERS = (nn.MSELoss, nn.L1Loss, nn.SmoothL1Loss, nn.HuberLoss)
_OF_FUNCTION: dict[Callable[..., Tensor], type[nn.Module]] = {
    F.cross_entropy: nn.CrossEntropyLoss,
    F.nll_loss: nn.NLLLoss,
    F.binary_cross_entropy_with_logits: nn.BCEWithLogitsLoss,
    F.binary_cross_entropy: nn.BCELoss,
    F.mse_loss: nn.MSELoss,
    F.l1_loss: nn.L1Loss,
    F.smooth_l1_loss: nn.SmoothL1Loss,
    F.huber_loss: nn.HuberLoss,
}
_SHOWN = 8  # labels and class names in a message


def check_targets(loss_func: Any, pred: Any, targ: Any, vocab: Sequence[Any] | None = None) -> None:
    """Raise a ValueError if `targ` does not suit the loss: one of ours, of torch's, or of `F`.

    It waits for the device, so it is for the first batch; `vocab` are the names of the classes.

    >>> check_targets(nn.CrossEntropyLoss(), torch.zeros(2, 3), torch.tensor([0, 3]))
    Traceback (most recent call last):
    ValueError: the targets hold the label 3, but the model gives 3 outputs, for \
the labels 0 to 2; give the model at least 4 outputs, or number the labels from 0
    """
    if not (isinstance(pred, Tensor) and isinstance(targ, Tensor)):
        return
    options: Mapping[str, Any] = {}
    if isinstance(loss_func, partial):
        options, loss_func = loss_func.keywords, loss_func.func
    if isinstance(loss_func, FlatLoss):
        _check_flat(loss_func, pred, targ, vocab)
        return
    kind = type(loss_func) if isinstance(loss_func, nn.Module) else _function_kind(loss_func)
    name = getattr(loss_func, "__name__", kind.__name__)
    ignore_index = options.get("ignore_index", getattr(loss_func, "ignore_index", -100))
    if issubclass(kind, _CLASSES):
        _check_classes(kind, name, pred, targ)
        if not targ.is_floating_point():
            _check_labels(pred, targ, 1 if pred.ndim > 1 else 0, ignore_index, vocab)
    elif issubclass(kind, _YES_NO):
        _check_floats(name, targ, "several labels an item (0 or 1 each)")
        _check_shapes(name, pred, targ)
        _check_unit(name, targ, "targets from 0 to 1")
        if issubclass(kind, nn.BCELoss):
            _check_unit(name, pred, "predictions from 0 to 1 (`BCEWithLogitsLossFlat()` takes any)")
    elif issubclass(kind, _NUMBERS):
        _check_floats(name, targ, "numbers")
        _check_shapes(name, pred, targ)


def label_error(
    error: Exception, pred: Any, targ: Any, vocab: Sequence[Any] | None = None
) -> Exception | None:
    """What to raise for torch's error about a label that is out of range, on the CPU; else None.

    >>> error = IndexError("Target 3 is out of bounds.")
    >>> str(label_error(error, torch.zeros(2, 3), torch.tensor([0, 3]))).split(",")[0]
    'the targets hold the label 3'
    """
    found = re.search(r"(?:Target|index) (-?\d+) is out of bounds", str(error))
    if (
        found is None
        or not (isinstance(pred, Tensor) and isinstance(targ, Tensor))
        or pred.ndim == 0
    ):
        return None
    on_axis_1 = pred.ndim == 2 or pred.shape[:1] + pred.shape[2:] == targ.shape
    n_out = pred.shape[1] if on_axis_1 else pred.shape[-1]
    return _label_message([int(found[1])], n_out, vocab)


def _function_kind(loss_func: Any) -> type[nn.Module]:
    try:
        return _OF_FUNCTION.get(loss_func, nn.Module)
    except TypeError:  # a callable object that has no hash
        return nn.Module


def check_that_some_count(loss_func: Any, targ: Any) -> None:
    """Raise where a loss is the mean over no label at all, as it leaves out each of them.

    >>> check_that_some_count(nn.CrossEntropyLoss(), torch.tensor([-100, -100]))
    Traceback (most recent call last):
    ValueError: every label of the first batch is -100, which `CrossEntropyLoss` leaves out, \
so its mean is over nothing; look at where the labels come from, or give it another `ignore_index`
    """
    options: Mapping[str, Any] = {}
    if isinstance(loss_func, partial):
        options, loss_func = loss_func.keywords, loss_func.func
    ignored = options.get("ignore_index", getattr(loss_func, "ignore_index", -100))
    if isinstance(targ, Tensor) and not targ.is_floating_point() and bool((targ == ignored).all()):
        name = getattr(loss_func, "__name__", type(loss_func).__name__)
        raise ValueError(
            f"every label of the first batch is {ignored}, which `{name}` leaves out, so its mean "
            "is over nothing; look at where the labels come from, or give it another `ignore_index`"
        )


def _check_flat(loss: FlatLoss, pred: Tensor, targ: Tensor, vocab: Sequence[Any] | None) -> None:
    name = type(loss).__name__
    if isinstance(loss, ClassLoss):
        _check_n_out(name, pred, loss.axis)
    pred, targ = loss.matched(pred, targ)  # says itself what does not fit
    if isinstance(loss, ClassLoss) and not targ.is_floating_point():
        _check_labels(pred, targ, 1, loss.ignore_index, vocab)
    elif isinstance(loss, BCEWithLogitsLossFlat):
        _check_unit(name, targ, "targets from 0 to 1")


def _check_n_out(name: str, pred: Tensor, axis: int) -> None:
    if pred.ndim and -pred.ndim <= axis < pred.ndim and (pred.ndim < 2 or pred.shape[axis] == 1):
        raise ValueError(
            f"`{name}` needs an output per class, got a prediction of shape {shape_of(pred)}; give "
            "the model 2 outputs for yes or no, or use `BCEWithLogitsLossFlat()` (for numbers, "
            "`MSELossFlat()`)"
        )


def _check_classes(kind: type[nn.Module], name: str, pred: Tensor, targ: Tensor) -> None:
    if pred.ndim < 2 and targ.ndim == 0:
        return  # one item without a batch axis
    _check_n_out(name, pred, 1 if pred.ndim > 1 else 0)
    _check_batch(name, pred, targ)
    wanted = pred.shape[:1] + pred.shape[2:]
    if targ.is_floating_point():
        if targ.shape != pred.shape or issubclass(kind, nn.NLLLoss):
            raise ValueError(
                f"`{name}` wants integer labels, got {targ.dtype} of shape {shape_of(targ)}; for "
                "labels give `targ.long()`, for numbers use `MSELossFlat()`"
            )
    elif targ.shape != wanted:
        advice = "`CrossEntropyLossFlat()` takes labels (64, 1) too, and classes on any axis"
        if targ.shape == pred.shape:
            advice = (
                "for several labels an item use `BCEWithLogitsLossFlat()`, for class probabilities "
                "give floats"
            )
        raise ValueError(
            f"`{name}` wants labels of shape {tuple(wanted)} for outputs of shape "
            f"{shape_of(pred)}, got {shape_of(targ)}; {advice}"
        )
    elif targ.dtype not in (torch.int64, torch.uint8):
        raise ValueError(
            f"`{name}` wants labels of torch.int64, got {targ.dtype}; give `targ.long()`, or use "
            "`CrossEntropyLossFlat()`, which takes any integers"
        )


def _check_labels(
    pred: Tensor, targ: Tensor, axis: int, ignore_index: int, vocab: Sequence[Any] | None
) -> None:
    n_out = pred.shape[axis]
    targ = targ.long()
    wrong = ((targ < 0) | (targ >= n_out)) & (targ != ignore_index)
    if wrong.any():  # host sync: on the first batch
        raise _label_message(sorted(set(targ[wrong].tolist())), n_out, vocab)
    names = _flat_names(vocab)
    n_classes = len(names) - (1 if 0 <= ignore_index < len(names) else 0)
    if n_out < n_classes:
        raise ValueError(
            f"the model gives {n_out} outputs but the data has {n_classes} "
            f"classes{_class_list(names)}; build it with n_out={n_classes}"
        )


def _label_message(labels: list[int], n_out: int, vocab: Sequence[Any] | None) -> ValueError:
    names = _flat_names(vocab)
    if labels[0] < 0:
        advice = f"to leave out what has {labels[0]}, pass `ignore_index={labels[0]}`"
    elif len(names) > n_out:
        advice = f"the data has {len(names)} classes: build the model with n_out={len(names)}"
    elif names and labels[-1] >= len(names):
        advice = f"the data names {len(names)} classes only, so look at where the label comes from"
    else:
        advice = f"give the model at least {labels[-1] + 1} outputs, or number the labels from 0"
    return ValueError(
        f"the targets hold the label{'s' if len(labels) > 1 else ''} {_listed(labels)}, but the "
        f"model gives {n_out} outputs, for the labels 0 to {n_out - 1}{_class_list(names)}; "
        f"{advice}"
    )


def _flat_names(vocab: Sequence[Any] | None) -> list[Any]:
    """The class names, unless there are several lists of them, one for each target."""
    names = [] if vocab is None else list(vocab)
    return [] if any(isinstance(name, list | tuple) for name in names) else names


def _class_list(names: list[Any]) -> str:
    if not names:
        return ""
    return f" ({_listed(names)})"


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(str(value) for value in values[:_SHOWN]) + (
        ", …" if len(values) > _SHOWN else ""
    )


def _check_batch(name: str, pred: Tensor, targ: Tensor) -> None:
    if pred.ndim and targ.ndim and pred.shape[0] != targ.shape[0]:
        raise ValueError(
            f"`{name}` got {pred.shape[0]} predictions (shape {shape_of(pred)}) for "
            f"{targ.shape[0]} targets (shape {shape_of(targ)}); the model must keep the batch as "
            "the first axis"
        )


def _check_floats(name: str, targ: Tensor, what: str) -> None:
    if not targ.is_floating_point():
        raise ValueError(
            f"`{name}` wants float targets, got {targ.dtype}; for {what} give `targ.float()`, for "
            "classes use `CrossEntropyLossFlat()`"
        )


def _check_shapes(name: str, pred: Tensor, targ: Tensor) -> None:
    _check_batch(name, pred, targ)
    if pred.shape == targ.shape:
        return
    advice = "give both the same shape"
    if pred.numel() == targ.numel():
        flat = f"{name}Flat" if name in ("MSELoss", "L1Loss") else "MSELossFlat"
        rows = f", or use `{flat}()`" if pred.ndim == 2 and targ.ndim > 2 else ""
        advice = f"give `targ.reshape{shape_of(pred)}`{rows}"
    raise ValueError(
        f"`{name}` compares each prediction with its own target, got {shape_of(pred)} and "
        f"{shape_of(targ)}, which torch would broadcast or refuse; {advice}"
    )


def _check_unit(name: str, values: Tensor, what: str) -> None:
    low, high = torch.stack(
        torch.aminmax(values.detach().float())
    ).tolist()  # host sync: on the first batch
    if low < 0 or high > 1:
        raise ValueError(f"`{name}` wants {what}, got values from {low:g} to {high:g}")
