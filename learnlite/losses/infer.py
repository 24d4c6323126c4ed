"""The loss that a data set calls for."""

import torch
from torch import Tensor

from learnlite.losses.base import FlatLoss
from learnlite.losses.classes import CrossEntropyLossFlat
from learnlite.losses.items import BCEWithLogitsLossFlat, MSELossFlat
from learnlite.shapes import shape_of


def infer_loss(targ: Tensor) -> FlatLoss:
    """The loss that targets like these call for, or an error where their kind does not tell.

    Integers are class labels (with the classes on axis 1 where they are maps of labels, as masks);
    booleans, and rows of 0 and 1 that are not all one-hot, are labels of which an item has several;
    other floats are numbers to predict.

    >>> infer_loss(torch.tensor([3, 1, 0]))
    CrossEntropyLossFlat()
    >>> infer_loss(torch.tensor([[0.3], [1.7]]))
    MSELossFlat()
    """
    given: object = targ
    if not isinstance(given, Tensor):
        raise ValueError(
            f"the targets are a {type(given).__name__}, which names no loss; pass `loss_func`"
        )
    if targ.is_complex():
        raise ValueError(f"targets of {targ.dtype} name no loss; pass `loss_func`")
    if targ.dtype is torch.bool:
        return BCEWithLogitsLossFlat()
    if not targ.is_floating_point():
        return CrossEntropyLossFlat(axis=1 if targ.ndim > 2 else -1)
    if targ.ndim == 2 and targ.shape[1] > 1 and targ.shape[0] > 0:
        binary = ((targ == 0) | (targ == 1)).all()
        shares = (targ >= 0).all() & ((targ.float().sum(1) - 1).abs() < 1e-3).all()
        is_binary, is_shares = torch.stack(
            [binary, shares]
        ).tolist()  # host sync: once, before training
        if is_shares:
            kind = "one-hot labels" if is_binary else "probabilities of classes"
            raise ValueError(
                f"float targets of shape {shape_of(targ)} whose rows sum to 1 may be {kind} or "
                "numbers to predict; pass `loss_func`: `CrossEntropyLossFlat()` for one class an "
                "item, `BCEWithLogitsLossFlat()` for several, `MSELossFlat()` for numbers"
            )
        if is_binary:
            return BCEWithLogitsLossFlat()
    return MSELossFlat()
