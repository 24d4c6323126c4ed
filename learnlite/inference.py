"""What a trained model says of data: how good it is, predictions for loaders and single items."""

import copy
import inspect
import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any, Self, cast

import torch
from torch import Tensor

from learnlite.callbacks.check import Checks
from learnlite.callbacks.record import Recorder
from learnlite.callbacks.show import ProgressBar
from learnlite.data.in_order import HasModes, Turn, in_order, some_items
from learnlite.data.loader import Loader
from learnlite.data.single import as_items, row_of
from learnlite.data.stream import Stream
from learnlite.faults import survived
from learnlite.fits import Fits, length_of
from learnlite.gathering import AsInTraining, GatherPreds, with_tfms
from learnlite.losses.outputs import (
    activation_of,
    are_probabilities,
    check_activation,
    decodes_of,
    tells_activation,
)
from learnlite.meaning import of_each_alone, told_of_outputs, usual_loss
from learnlite.metrics import as_metrics
from learnlite.predictions import PredictionTable, is_index, table_of
from learnlite.seeds import kept_rng, mix
from learnlite.types import listify

_NO_TARGETS = (
    "the batches have no targets, so there is no loss; give a loader with them, as "
    "`dls.test_dl(items, with_labels=True)`, or take the predictions alone by `get_preds(dl=dl)`"
)
_TTA = 3  # which stream of random numbers: after those of the loop
# Threads of a server may share a learner, whose state a pass changes and puts back.
_ONE_AT_A_TIME = threading.RLock()


class Inference(Fits):
    """The loop with the ways to use what was trained."""

    def __init__(self) -> None:
        super().__init__()
        self._usual: tuple[Any, Any] = (None, None)  # of which loaders, the loss of their targets
        self._told: Any = None  # of which loss it was said that it tells no activation

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
        if act is not None:
            check_activation(act)
        read = in_order(dl) if reorder else dl
        gather = GatherPreds(
            activation_of(self.loss_func) if act is None else act,
            decodes_of(self.loss_func, self._usual_loss()) if with_decoded else None,
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
        found = gather.results()
        if (
            act is None
            and self._told is not self.loss_func
            and not tells_activation(self.loss_func)
        ):
            self._tell_outputs(found[1] if with_input else found[0])
        return found

    def predict(self, item: Any, *, with_input: bool = False, act: Any = None) -> tuple[Any, ...]:
        """What the model says of one item: `(label, index, probabilities)`, if that is a class.

        Else it is `(decoded, decoded as tensor, activated outputs)`. An item is what those of the
        data are made of, or an input itself: a path, an image, bytes, an array, a tensor, a row. No
        bar is shown and no process started. `with_input` gives the input, too, as the model got it;
        `act` makes probabilities of outputs, where the loss does not tell what does.

        >>> import torch
        >>> from learnlite import DataLoaders, Learner
        >>> x = torch.randn(50, 4)
        >>> dls = DataLoaders.from_tensors(x, (x[:, 0] > 0).long(), vocab=["low", "high"], bs=5)
        >>> with (learn := Learner(dls, torch.nn.Linear(4, 2))).no_logging():
        ...     learn.fit(9, 0.1)
        >>> learn.predict(torch.tensor([5.0, 0.0, 0.0, 0.0]))[:2]
        ('high', 1)
        """
        if isinstance(item, list) and self._takes_images():
            raise TypeError(
                f"`predict` takes one item, got a list of {len(cast('list[Any]', item))}; use "
                "`predict_batch(items)`"
            )
        inputs, predictions = self._predictions([item], act)
        return (row_of(inputs, 0), *predictions[0]) if with_input else predictions[0]

    def predict_batch(self, items: Iterable[Any], *, act: Any = None) -> list[tuple[Any, ...]]:
        """For each item what `predict` says of it, in batches of the validation loader's size."""
        several = as_items(items, is_images=self._takes_images())
        return self._predictions(several, act)[1] if len(several) else []

    def _takes_images(self) -> bool:
        return self.dls.kinds[:1] == ("image",)

    def _predictions(self, items: Sequence[Any], act: Any) -> tuple[Any, list[tuple[Any, ...]]]:
        bs = getattr(self.dls[-1], "bs", None) or 64
        starts = range(0, len(items), bs)
        batches = Stream(
            lambda: (self.dls.batch_of(items[start : start + bs]) for start in starts), len(starts)
        )
        with _ONE_AT_A_TIME:
            inputs, preds, _, decoded = self.get_preds(
                dl=batches, with_input=True, with_decoded=True, act=act, inner=True
            )
        labels = self.dls.decode_preds(decoded, inputs)
        rows = [(row_of(decoded, i), row_of(preds, i)) for i in range(len(items))]
        return inputs, [
            (label, int(code) if is_index(code) else code, pred)
            for label, (code, pred) in zip(labels, rows, strict=True)
        ]

    def tta(
        self,
        ds_idx: Any = 1,
        dl: Any = None,
        n: int = 4,
        beta: float | None = 0.25,
        use_max: bool = False,
        *,
        act: Any = None,
    ) -> tuple[Any, Any]:
        """Predictions averaged over `n` augmented passes and the plain one: `(preds, targs)`.

        The data is augmented as in training, and always in the same way: the draws follow from
        `learn.seed`. The plain predictions have the weight `beta`, those augmented the rest; with
        `use_max` it is the highest of all instead, and with `beta=None` a pair of both.

        >>> import torch
        >>> from learnlite import DataLoaders, Learner
        >>> x = torch.randn(50, 4)
        >>> dls = DataLoaders.from_tensors(x, (x[:, 0] > 0).long(), device="cpu")
        >>> dls.batch_tfms = [lambda batch, kinds, training: (batch[0] + training, *batch[1:])]
        >>> Learner(dls, torch.nn.Linear(4, 2)).tta()[0].shape
        torch.Size([10, 2])
        """
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"`n` counts the augmented passes and must be at least 1, got {n!r}")
        if beta is not None and (isinstance(beta, bool) or not _is_share(beta)):
            raise ValueError(
                "`beta` is the weight of the plain predictions, from 0 to 1, or None for a pair of "
                f"both; got {beta!r}"
            )
        dl = self._chosen(ds_idx, dl)
        turns = in_order(dl, training=True)
        self._check_augments(dl)
        plain, targs = self.get_preds(dl=dl, act=act)
        mixed: Any = None
        try:
            for k in range(n):
                turn = Turn(turns, mix(self.seed, _TTA), k, self.dls.device)
                preds = self.get_preds(dl=turn, act=act, reorder=False, cbs=AsInTraining())[0]
                if not isinstance(preds, Tensor):
                    raise TypeError(
                        f"`tta` averages predictions, and these are a `{type(preds).__name__}`; "
                        "choose one of the outputs in `after_pred`"
                    )
                if mixed is None:
                    mixed = preds
                else:
                    mixed = torch.maximum(mixed, preds) if use_max else mixed.add_(preds)
        finally:
            if turns is not dl and isinstance(turns, Loader):
                turns.close()
        if use_max:
            return torch.maximum(mixed, plain), targs
        mixed /= n
        return ((mixed, plain) if beta is None else torch.lerp(mixed, plain, beta)), targs

    def show_results(
        self, ds_idx: Any = 1, dl: Any = None, max_n: int = 9, shuffle: bool = True, **settings: Any
    ) -> Any:
        """Draw some items with their targets and predictions; `shuffle` takes others each time.

        `settings` go to `dls.show_results`: `nrows`, `ncols`, `figsize`. Gives the axes.
        """
        show = getattr(self.dls, "show_results", None)
        if show is None:
            raise TypeError(
                f"a `{type(self.dls).__name__}` does not know how its items are shown; make `dls` "
                "by a `DataBlock` or `ImageDataLoaders`, or look at `learn.predictions_table()`"
            )
        batch = some_items(self._chosen(ds_idx, dl), max_n, shuffle=shuffle)
        loader = Stream(lambda: [batch], 1)
        inputs, _, targs, decoded = self.get_preds(
            dl=loader, with_input=True, with_decoded=True, inner=True
        )
        shown = (*_several(inputs), *_several(targs))
        return show(shown, decoded, max_n=max_n, **settings)

    def predictions_table(
        self,
        items: Any = None,
        *,
        ds_idx: int = 1,
        dl: Any = None,
        with_classes: bool = False,
        act: Any = None,
    ) -> PredictionTable:
        """Predictions for new `items` (files, say), or for a loader, as a table.

        Its columns: `item`, `target` where there is one, `prediction`, the `probability` of a
        class, and with `with_classes` the probability of each class under its name. Where nothing
        tells what makes probabilities, neither the loss nor `act`, it is `output` instead.

        >>> import torch
        >>> from learnlite import DataLoaders, Learner
        >>> x, y = torch.zeros(20, 4), torch.arange(20) % 2
        >>> dls = DataLoaders.from_tensors(x, y, vocab=["no", "yes"], device="cpu")
        >>> table = Learner(dls, torch.nn.Linear(4, 2)).predictions_table(torch.zeros(3, 4))
        >>> list(table.columns), len(table)
        (['item', 'prediction', 'probability'], 3)
        """
        dl = self._chosen(ds_idx, dl) if items is None else self.dls.test_dl(items)
        try:
            preds, targs, decoded = self.get_preds(dl=dl, act=act, with_decoded=True)
        finally:
            if items is not None and isinstance(dl, Loader):
                dl.close()
        sure = act is not None or tells_activation(self.loss_func) or are_probabilities(preds)
        return table_of(dl, self.dls, preds, targs, decoded, sure=sure, with_classes=with_classes)

    def _usual_loss(self) -> Any:
        """The loss that the targets call for, asked of the data once."""
        if self._usual[0] is not self.dls:
            self._usual = (self.dls, usual_loss(self.dls))
        return self._usual[1]

    def _tell_outputs(self, preds: Any) -> None:
        """Say once that predictions are outputs as they are, if nobody knows their meaning."""
        said = told_of_outputs(self.loss_func, preds, self._usual_loss())
        if said is not None:
            self._told = self.loss_func
            self.say(said)

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
                    if type(dl) in (list, tuple) and dl and not self.dls.is_raw(dl[0]):
                        self.dls = with_tfms(self.dls, [])  # as `dls.one_batch()` gives them
                    self.progress.n_valid, self.progress.valid_batches = n_batches, 0
                with survived(self):
                    yield
            except TypeError as error:
                if self.yb or self.pred is None or self.loss is not None or not has_loss:
                    raise
                raise ValueError(_NO_TARGETS) from error
            finally:
                with self._whole_steps.step:
                    stack.close()

    @contextmanager
    def loss_not_reduced(self) -> Generator[Self]:
        """With a loss for each sample instead of their mean.

        A loss that knows no `reduction` is asked about one sample after the other.
        """
        loss_func: Any = self.loss_func
        if hasattr(loss_func, "reduction"):
            reduction, loss_func.reduction = loss_func.reduction, "none"
            try:
                yield self
            finally:
                loss_func.reduction = reduction
            return
        if _takes_reduction(loss_func):
            self.loss_func = partial(loss_func, reduction="none")
        else:
            self.loss_func = partial(of_each_alone, loss_func)
        try:
            yield self
        finally:
            self.loss_func = loss_func

    def _check_augments(self, dl: Any) -> None:
        """Refuse to average what is equal."""
        if isinstance(dl, list | tuple) and dl and not self.dls.is_raw(dl[0]):
            raise ValueError(
                "these batches are transformed already, so that `tta` cannot augment them; give a "
                "loader, or batches as a loader gives them"
            )
        if not self.dls.batch_tfms and not isinstance(getattr(dl, "dataset", None), HasModes):
            raise ValueError(
                "`tta` averages over augmentations, and `dls` has none: no `batch_tfms`, and "
                "items that know no training mode; use `get_preds`"
            )


def _several(parts: Any) -> tuple[Any, ...]:
    """A tuple of what `_alone` may have made one."""
    return () if parts is None else parts if isinstance(parts, tuple) else (parts,)


def _is_share(value: Any) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _takes_reduction(loss_func: Any) -> bool:
    try:
        return "reduction" in inspect.signature(loss_func).parameters
    except (TypeError, ValueError):
        return False
