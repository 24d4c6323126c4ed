"""Laying a target out like its prediction, or saying why that cannot be."""

import torch
from torch import Tensor


def shape_of(tensor: Tensor) -> tuple[int, ...]:
    """The shape as a plain tuple, as messages show it."""
    return tuple(tensor.shape)


def like_pred(pred: Tensor, targ: Tensor, name: str) -> Tensor:
    """`targ` in the shape of `pred`: axes of size 1 may differ; one of both may be flat, or rows.

    Nothing is broadcast: (64, 1) with (64,) would silently compare each with all.

    >>> like_pred(torch.zeros(4, 1), torch.zeros(4), "mse").shape
    torch.Size([4, 1])
    >>> like_pred(torch.zeros(8, 4), torch.zeros(8, 2, 2), "mse").shape
    torch.Size([8, 4])
    >>> like_pred(torch.zeros(4, 2), torch.zeros(4), "mse")
    Traceback (most recent call last):
    ValueError: `mse` compares each prediction with its own target, got (4, 2) and (4,); \
give both the same shape
    """
    if pred.shape == targ.shape:
        return targ
    same_count = pred.numel() == targ.numel()
    is_flat = pred.ndim <= 1 or targ.ndim <= 1
    is_rows = 2 in (pred.ndim, targ.ndim) and pred.shape[:1] == targ.shape[:1]
    if same_count and (is_flat or is_rows or _long_axes(pred) == _long_axes(targ)):
        return targ.reshape(pred.shape)
    raise ValueError(
        f"`{name}` compares each prediction with its own target, got {shape_of(pred)} and "
        f"{shape_of(targ)}; give both the same shape"
    )


def class_axis(pred: Tensor, axis: int, name: str) -> int:
    """`axis` of `pred`, counted from 0; its size is the number of classes."""
    if pred.ndim < 2:
        raise ValueError(
            f"`{name}` needs an output per class, got a prediction of shape {shape_of(pred)}; "
            "leave out `squeeze` or `flatten` at the end of the model"
        )
    if not -pred.ndim <= axis < pred.ndim:
        raise ValueError(
            f"`{name}` looks for the classes on axis {axis}, got a prediction of shape "
            f"{shape_of(pred)}"
        )
    return axis % pred.ndim


def labels_like(pred: Tensor, targ: Tensor, axis: int, name: str) -> Tensor:
    """Class labels `targ` as int64, in the shape of `pred` without its class axis.

    >>> labels_like(torch.zeros(2, 10, 5, 5), torch.ones(2, 1, 5, 5).byte(), 1, "accuracy").shape
    torch.Size([2, 5, 5])
    """
    axis = class_axis(pred, axis, name)
    if targ.is_floating_point():
        soft = targ.shape == pred.shape
        raise ValueError(
            f"`{name}` wants class labels, got {'class probabilities' if soft else 'a target'} of "
            f"{targ.dtype} and shape {shape_of(targ)}; give it "
            f"`targ.{f'argmax({axis})' if soft else 'long()'}`"
        )
    wanted = pred.shape[:axis] + pred.shape[axis + 1 :]
    if targ.shape != wanted:
        if pred.shape[axis] * targ.numel() != pred.numel() or not (
            targ.ndim <= 1
            or len(wanted) == 1
            or _long_axes(targ) == tuple(n for n in wanted if n != 1)
        ):
            raise ValueError(
                f"`{name}` wants a label for each prediction, a target of shape {tuple(wanted)}, "
                f"for outputs of shape {shape_of(pred)} with the classes on axis {axis}; got "
                f"{shape_of(targ)}{_label_advice(pred, targ, axis)}"
            )
        targ = targ.reshape(wanted)
    return targ if targ.dtype is torch.int64 else targ.long()


def _label_advice(pred: Tensor, targ: Tensor, axis: int) -> str:
    if targ.shape == pred.shape:
        return (
            "; for several labels an item use `BCEWithLogitsLossFlat()`, "
            "for one give the labels, not rows of 0 and 1"
        )
    if pred.shape[0] != targ.shape[0]:
        return "; the model must keep the batch as the first axis"
    if pred.ndim > 2 and axis == pred.ndim - 1:
        return "; where the classes are on axis 1, as in images, pass `axis=1`"
    return ""


def _long_axes(tensor: Tensor) -> tuple[int, ...]:
    return tuple(n for n in tensor.shape if n != 1)
