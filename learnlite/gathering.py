"""Callbacks of a pass that predicts: to put the predictions together, and to augment batches."""

import copy
from collections.abc import Callable as Function
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from learnlite.callback import Callback
from learnlite.data import DataLoaders
from learnlite.data.batch import batch_size, map_batch
from learnlite.data.gather import Gathered
from learnlite.events import Order
from learnlite.losses.base import HALF
from learnlite.types import BatchTransform


class AsInTraining(Callback):
    """Batches are transformed as in training."""

    order = Order.SETUP

    @contextmanager
    def around_validate(self) -> Generator[None]:
        dls = self.dls
        self.dls = with_tfms(dls, [_as_in_training(tfm) for tfm in dls.batch_tfms])
        try:
            yield
        finally:
            self.dls = dls


def _as_in_training(tfm: BatchTransform) -> BatchTransform:
    return lambda batch, kinds, training: tfm(batch, kinds, True)


def with_tfms(dls: DataLoaders, tfms: list[BatchTransform]) -> DataLoaders:
    """The same loaders with other batch transforms."""
    new = copy.copy(dls)
    new.batch_tfms = tfms
    return new


class GatherPreds(Callback):
    """Puts the predictions of each batch together, and what else is asked for."""

    order = Order.RECORD
    run_train = False

    def __init__(
        self,
        act: Function[[Any], Any],
        decodes: Function[[Any], Any] | None,
        *,
        with_input: bool,
        with_loss: bool,
        n: int | None,
    ) -> None:
        self.act = act
        self.decodes = decodes
        self.with_loss = with_loss
        self._n = n
        self._asked = {
            "inputs": with_input,
            "preds": True,
            "targs": True,
            "decoded": decodes is not None,
            "losses": with_loss,
        }
        self._parts: dict[str, Gathered] = {}

    def after_pred(self) -> None:
        if self.with_loss and not self.yb:
            raise ValueError(
                "a loss for each sample needs targets, and the batches have none; leave out "
                "`with_loss`, or give a loader with targets: `dls.test_dl(items, with_labels=True)`"
            )

    def after_batch(self) -> None:
        if self.pred is None:  # a callback has cancelled the batch
            return
        pred = self.act(map_batch(self.pred, _float))
        given = {"inputs": _alone(self.xb), "preds": pred, "targs": _alone(self.yb)}
        if self.decodes is not None:
            given["decoded"] = self.decodes(pred)
        if self.with_loss:
            given["losses"] = _of_each(self.loss, batch_size(self.yb))
        if not self._parts:
            n = self._n or self.learn.n_iter * batch_size(self.xb)
            self._parts = {name: Gathered(n) for name, asked in self._asked.items() if asked}
        for name, part in self._parts.items():
            part.add(given[name])

    def results(self) -> tuple[Any, ...]:
        """All of it, in the order of the arguments' names."""
        if not self._parts:
            raise ValueError("there is nothing to predict: the loader gave no batch")
        return tuple(part.whole() for part in self._parts.values())


def _alone(parts: Any) -> Any:
    """The one part of a tuple; several stay together, and none is None."""
    if not isinstance(parts, tuple):
        return parts
    return parts[0] if len(parts) == 1 else parts or None


def _float(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in HALF else tensor


def _of_each(loss: Any, n: int) -> Tensor:
    """The loss of each of `n` samples; the mean where a sample has several, as of pixels."""
    if not isinstance(loss, Tensor) or loss.numel() % n or not loss.numel():
        given = tuple(loss.shape) if isinstance(loss, Tensor) else f"a `{type(loss).__name__}`"
        raise ValueError(
            f"the loss cannot tell samples apart: of a batch of {n} it gives {given} with "
            '`reduction="none"`'
        )
    return loss.reshape(n) if loss.numel() == n else loss.reshape(n, -1).float().mean(1)
