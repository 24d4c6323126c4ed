"""Losses in exported files: ours and torch's; another's name, with a loss that says so."""

from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from learnlite import losses
from learnlite.data import DataLoaders
from learnlite.data.wording import quoted, short
from learnlite.export.table import ExportError, Table, Told, name_of
from learnlite.meaning import usual_loss

LOSSES = Table("loss")
ACTIVATIONS = Table("activation")
ACTIVATIONS.add(nn.Softmax, "dim", kind="nn.Softmax")
ACTIVATIONS.add(nn.Sigmoid, kind="nn.Sigmoid")
for _act in (torch.sigmoid, torch.exp, F.sigmoid):
    ACTIVATIONS.add_function(_act)

_AXIS = ("axis", "weight", "reduction")
LOSSES.add(losses.CrossEntropyLossFlat, *_AXIS, "ignore_index", "label_smoothing")
LOSSES.add(losses.LabelSmoothingCrossEntropy, *_AXIS, "eps", "spread", "ignore_index")
LOSSES.add(losses.FocalLoss, *_AXIS, "gamma", "ignore_index")
LOSSES.add(losses.BCEWithLogitsLossFlat, *_AXIS, "floatify", "thresh", "pos_weight")
LOSSES.add(losses.MSELossFlat, "axis", "floatify", "reduction")
LOSSES.add(losses.L1LossFlat, "axis", "floatify", "reduction")


def _weighted(cls: Any, *args: str) -> None:
    """A loss of torch's, whose weights must be tensors."""

    def make(**told: Any) -> Any:
        return cls(**_with_tensors(told))

    LOSSES.add(cls, *args, make=make, kind=f"nn.{cls.__name__}")


_weighted(nn.CrossEntropyLoss, "weight", "ignore_index", "reduction", "label_smoothing")
_weighted(nn.NLLLoss, "weight", "ignore_index", "reduction")
_weighted(nn.BCEWithLogitsLoss, "weight", "pos_weight", "reduction")
_weighted(nn.BCELoss, "weight", "reduction")
_weighted(nn.MultiLabelSoftMarginLoss, "weight", "reduction")
_weighted(nn.MultiMarginLoss, "p", "margin", "weight", "reduction")
for _loss, _args in (
    (nn.MSELoss, ()),
    (nn.L1Loss, ()),
    (nn.SmoothL1Loss, ("beta",)),
    (nn.HuberLoss, ("delta",)),
):
    LOSSES.add(_loss, "reduction", *_args, kind=f"nn.{_loss.__name__}")
for _function in (
    F.cross_entropy,
    F.nll_loss,
    F.binary_cross_entropy_with_logits,
    F.binary_cross_entropy,
    F.multi_margin_loss,
    F.mse_loss,
    F.l1_loss,
    F.smooth_l1_loss,
    F.huber_loss,
):
    LOSSES.add_function(_function, f"F.{_function.__name__}")


def _tell_partial(loss_func: Any) -> Told:
    known = LOSSES.tell(loss_func.func)
    if known is None or loss_func.args:
        raise ExportError(f"a file cannot hold a `partial` of `{name_of(loss_func)}`")
    return {"func": known, "keywords": loss_func.keywords}


def _make_partial(func: Any, keywords: Any) -> Any:
    return partial(LOSSES.make(func), **_with_tensors(keywords))


def _with_tensors(told: Told) -> Told:
    return {key: Tensor(v) if isinstance(v, list) else v for key, v in told.items()}


LOSSES.add(partial, "func", "keywords", tell=_tell_partial, make=_make_partial)


class MissingLoss:
    """Stands for a loss that its file could not hold; what needs it says so.

    >>> MissingLoss("my_loss")(None, None)
    Traceback (most recent call last):
    ...
    RuntimeError: the loss `my_loss` was not in the file; give it: `learn.loss_func = my_loss`
    """

    activation: Any

    def __init__(
        self, name: str, has_activation: bool = False, activation: Told | None = None
    ) -> None:
        if not isinstance(name, str):
            raise TypeError(f"the name of a loss is text, got {short(name)}")
        self.name = name[:80]
        self.told = activation
        if activation is not None:
            self.activation = ACTIVATIONS.make(activation)
        elif has_activation:  # predictions would be other numbers without it
            self.activation = self.decodes = self

    def __call__(self, *_: Any) -> Any:
        name = self.name if self.name.isidentifier() and self.name != "lambda" else "…"
        raise RuntimeError(
            f"the loss {quoted(self.name)} was not in the file; give it: `learn.loss_func = {name}`"
        )

    def __repr__(self) -> str:
        return f"MissingLoss({self.name!r})"


LOSSES.add(
    MissingLoss,
    "name",
    "has_activation",
    "activation",
    tell=lambda loss: {
        "name": loss.name,
        "has_activation": hasattr(loss, "activation"),
        "activation": loss.told,
    },
)


def usual_told(dls: DataLoaders) -> Told | None:
    """What a file tells of the loss that the data calls for, which knows what predictions are."""
    usual = usual_loss(dls)
    try:
        return LOSSES.tell(usual)
    except ExportError:
        return None


def tell_loss(loss_func: Any) -> tuple[Told, str | None]:
    """What a file tells of a loss, and what is to be said to the user."""
    try:
        told = LOSSES.tell(loss_func)
    except ExportError:
        told = None
    if told is not None:
        return told, None
    name, act = name_of(loss_func), getattr(loss_func, "activation", None)
    decodes = hasattr(loss_func, "decodes")
    known = None if act is None or decodes else ACTIVATIONS.tell(act)
    needs = "predictions do without, `validate` needs it"
    if known is None and (act is not None or decodes):
        needs = "predictions need it"
    said = f"the file does not hold the loss `{name}`: after loading, {needs} (`learn.loss_func`)"
    told = {"name": name, "has_activation": act is not None or decodes, "activation": known}
    return {"kind": "MissingLoss"} | told, said
