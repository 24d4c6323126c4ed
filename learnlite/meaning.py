"""What the outputs of a model mean where its loss does not tell: the data knows some of it."""

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

import torch
from torch import Tensor

from learnlite.data import DataLoaders
from learnlite.data.batch import batch_size, map_batch
from learnlite.data.wording import quoted
from learnlite.losses import BCEWithLogitsLossFlat, ClassLoss, infer_loss
from learnlite.losses.outputs import are_probabilities, tells_activation


def usual_loss(dls: DataLoaders) -> Any:
    """The loss that the targets call for, a tuple for several; None where nothing tells.

    >>> x = torch.zeros(8, 2)
    >>> usual_loss(DataLoaders([(x, torch.arange(8))], device="cpu"))
    CrossEntropyLossFlat()
    """
    if dls.loss_func is not None:
        return dls.loss_func
    losses = getattr(dls, "target_losses", None)
    if losses:
        return losses[0] if len(losses) == 1 else losses
    with suppress(Exception):  # loaders without data, or targets that no loss of ours is for
        targs = dls.split(dls.one_batch())[1]
        if len(targs) == 1 and isinstance(targs[0], Tensor):
            return infer_loss(targs[0])
    return None


def told_of_outputs(loss_func: Any, preds: Any, usual: Any) -> str | None:
    """What to say of predictions that are outputs as they are, and no probabilities of labels."""
    is_known = not isinstance(preds, Tensor) or are_probabilities(preds, usual)
    return None if is_known else told_of_loss(loss_func, usual)


def told_of_loss(loss_func: Any, usual: Any) -> str | None:
    """What to say of a loss for labels that does not tell what makes probabilities of them."""
    if tells_activation(loss_func) or not isinstance(usual, ClassLoss | BCEWithLogitsLossFlat):
        return None
    name = getattr(loss_func, "__qualname__", None) or getattr(loss_func, "name", None)
    name = str(name or type(loss_func).__name__).rpartition("<locals>.")[2].strip("<>")[:80]
    several = isinstance(usual, BCEWithLogitsLossFlat)
    act = "torch.nn.Sigmoid()" if several else "torch.nn.Softmax(1)"
    decoded = "; labels are those above 0.5" if several else ""
    return (
        f"the loss {quoted(name)} does not tell what makes probabilities of the outputs, so the "
        f"predictions are the outputs as they are{decoded}; where they are logits, write "
        f"`learn.loss_func.activation = {act}`, or pass `act={act}`"
    )


def of_each_alone(loss_func: Callable[..., Any], pred: Any, *targs: Any) -> Tensor:
    """The loss of each sample, by a loss that gives one number: called with one after the other.

    >>> of_each_alone(torch.nn.MSELoss(), torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0]))
    tensor([0., 9.])
    """
    losses: list[Any] = []
    for i in range(batch_size((pred, *targs))):
        one = partial(_only, i)
        losses.append(loss_func(map_batch(pred, one), *(map_batch(targ, one) for targ in targs)))
    return torch.stack([torch.as_tensor(loss).mean() for loss in losses])


def _only(i: int, tensor: Tensor) -> Tensor:
    return tensor[i : i + 1]
