"""What a trained model says of data: how good it is, predictions for loaders and single items."""

import copy
import inspect
from collections.abc import Callable as Function
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, Self

from torch import Tensor

from learnlite.callback import Callback
from learnlite.callbacks.check import Checks
from learnlite.callbacks.record import Recorder
from learnlite.callbacks.show import ProgressBar
from learnlite.data.batch import batch_size, map_batch
from learnlite.data.gather import Gathered
from learnlite.data.in_order import in_order
from learnlite.data.loader import Loader
from learnlite.events import Order
from learnlite.fits import Fits, length_of
from learnlite.losses.base import HALF
from learnlite.losses.outputs import activation_of, decodes_of
from learnlite.metrics import as_metrics
from learnlite.seeds import kept_rng
from learnlite.types import listify


class Inference(Fits):
    """The loop with the ways to use what was trained."""

    def validate(self, ds_idx: Any = 1, dl: Any = None, cbs: Any = None) -> list[float]:
        """Loss and metrics on loader `ds_idx` of `dls`, or on `dl`; also in the middle of a fit."""
        dl = self._chosen(ds_idx, dl)
        recorder = Recorder()
        with self._pass_over(dl, [recorder, *listify(cbs)], aside=(Recorder, Checks)):
            self.metrics = copy.deepcopy(as_metrics(self.metrics))
            self._validate_pass(dl)
            return recorder.valid_measures()

    def get_preds(
        self,
        ds_idx: Any = 1,
        dl: Any = None,
        with_input: bool = False,
        with_decoded: bool = False,
        with_loss: bool = False,
        act: Any = None,
        inner: bool = False,
        reorder: bool = True,
        cbs: Any = None,
    ) -> tuple[Any, ...]:
        """Predictions for loader `ds_idx` of `dls`, or for `dl`: `(preds, targs)`, on the CPU.

        They are what the loss's activation makes of the outputs (probabilities, say), or `act`,
        which is called with those of each batch; `targs` is None where the data has none. With
        more asked for, it is `(inputs, preds, targs, decoded, losses)`, without what is not.
        Every item comes once, in the data's order and without augmentation, from a training loader
        too; `reorder=False` reads a loader just as it is. `dl` is any loader, or a list of batches.
        There is no loss but with `with_loss`, and nothing is recorded; with `inner` there is no
        bar.

        >>> import torch
        >>> from learnlite import DataLoaders, Learner
        >>> x = torch.randn(50, 4)
        >>> dls = DataLoaders.from_tensors(x, (x.sum(1) > 0).long(), device="cpu")
        >>> preds, targs = Learner(dls, torch.nn.Linear(4, 2)).get_preds()
        >>> preds.shape, targs.shape
        (torch.Size([10, 2]), torch.Size([10]))
        """
        dl = self._chosen(ds_idx, dl)
        read = in_order(dl) if reorder else dl
        gather = _Gather(
            activation_of(self.loss_func) if act is None else act,
            decodes_of(self.loss_func) if with_decoded else None,
            with_input=with_input,
            with_loss=with_loss,
            n=read.n if isinstance(read, Loader) else None,
        )
        aside = (Recorder, Checks, *((ProgressBar,) if inner else ()))
        try:
            with (
                self.loss_not_reduced() if with_loss else nullcontext(),
                self._pass_over(read, [gather, *listify(cbs)], aside=aside, has_loss=with_loss),
            ):
                self._validate_pass(read)
        finally:
            if read is not dl and isinstance(read, Loader):
                read.close()
        return gather.results()

    def _chosen(self, ds_idx: Any, dl: Any) -> Any:
        """The loader that is meant: `dl`, or number `ds_idx`, or a loader given first."""
        if not isinstance(ds_idx, int):
            return ds_idx
        if dl is None and ds_idx >= len(self.dls):
            raise ValueError(
                f"there is no loader {ds_idx} to validate on: `dls` has {len(self.dls)}; "
                "pass one by `dl=…`"
            )
        return self.dls[ds_idx] if dl is None else dl

    @contextmanager
    def _pass_over(
        self, dl: Any, cbs: Sequence[Any], *, aside: tuple[type, ...], has_loss: bool = True
    ) -> Generator[None]:
        """Ready for a pass over `dl`; after it, all is as it was, also in the middle of a fit."""
        n_batches = length_of(dl, "validation")
        without = [cb for cb in self.callbacks if isinstance(cb, aside)]
        with self._whole_steps, ExitStack() as stack:
            try:
                with self._whole_steps.step:  # an interrupt waits until all is ready, or as it was
                    stack.enter_context(self._batch_kept())
                    stack.enter_context(kept_rng(self.dls.device))
                    stack.enter_context(self.callbacks.removed(without))
                    stack.enter_context(self.callbacks.added(cbs))
                    self._to_device()
                    self.callbacks.bind()
                    self.has_loss = has_loss
                    self.progress.n_valid, self.progress.valid_batches = n_batches, 0
                yield
            finally:
                with self._whole_steps.step:
                    stack.close()

    @contextmanager
    def loss_not_reduced(self) -> Generator[Self]:
        """With a loss for each sample instead of their mean."""
        loss_func: Any = self.loss_func
        if hasattr(loss_func, "reduction"):
            reduction, loss_func.reduction = loss_func.reduction, "none"
            try:
                yield self
            finally:
                loss_func.reduction = reduction
            return
        if not _takes_reduction(loss_func):
            raise TypeError(
                f"`{loss_func!r}` has no `reduction`, so it cannot give a loss for each sample"
            )
        self.loss_func = partial(loss_func, reduction="none")
        try:
            yield self
        finally:
            self.loss_func = loss_func


class _Gather(Callback):
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


def _takes_reduction(loss_func: Any) -> bool:
    try:
        return "reduction" in inspect.signature(loss_func).parameters
    except (TypeError, ValueError):
        return False
