"""Trial runs: a short one, and one that asks whether the model can learn at all."""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from math import ceil, isfinite
from typing import Any

import torch
from torch import Tensor, nn

from learnlite import checkpoint
from learnlite.callback import Callback
from learnlite.data import DataLoaders
from learnlite.data.batch import batch_size, map_batch, move
from learnlite.data.torch_loader import generators_of, kept_generators
from learnlite.events import Order
from learnlite.seeds import kept_rng, seed_torch
from learnlite.tally import read_together
from learnlite.types import Batch, EpochLoader, counted

_LEARNT = 0.1  # a loss below this part of its start counts as learnt
_SEED = 0  # for the order of a loader without epochs: any number will do, always the same


class ShortEpoch(Callback):
    """Makes every epoch short: `n` batches, or the share `n` of the epoch if it is below 1.

    Schedules and bars go by the short epoch, so a one-cycle runs to its end. With
    `short_valid=False` validation stays whole. `pct` is fastai's word for `n`; neither is 0.01.

    >>> ShortEpoch(20)           # twenty batches to train on, twenty to validate on
    ShortEpoch(n=20, short_valid=True, pct=None)
    """

    order = Order.SETUP
    controls = ("epoch length",)

    def __init__(
        self, n: float | None = None, short_valid: bool = True, *, pct: float | None = None
    ) -> None:
        if n is not None and pct is not None:
            raise ValueError(f"`n` and `pct` say the same; give one of them, got {n} and {pct}")
        n = next((given for given in (n, pct) if given is not None), 0.01)
        whole = isinstance(n, int) and not isinstance(n, bool)
        if not (n >= 1 if whole else isinstance(n, float) and 0 < n < 1):
            raise ValueError(
                "`n` is a whole number of batches, or a share of the epoch between 0 and 1 "
                f"(as 0.01), got {n!r}"
            )
        self.n = n
        self.short_valid = short_valid
        self.pct = None  # it is kept as `n`

    @contextmanager
    def around_fit(self) -> Generator[None]:
        progress = self.learn.progress
        progress.n_iter = self._part(progress.n_iter)
        if self.short_valid:
            progress.n_valid = self._part(progress.n_valid)
        yield  # the next fit counts anew

    def _part(self, n_batches: int) -> int:
        return min(n_batches, int(self.n) if self.n >= 1 else ceil(self.n * n_batches))


ShortEpochCallback = ShortEpoch


class OverfitBatch(Callback):
    """Trains on one batch, `n` times an epoch, and says whether the model can learn it by heart.

    It can if the loss falls below a tenth of its start, in training or in evaluation mode, or if
    all labels are right in the end; a model that cannot do this will not learn the whole set
    either. The batch is the first of the training loader's first epoch; validation is on that batch
    too. After the fit `learns` is true or false and `verdict` the sentence that was said; model and
    optimizer are as they were before, unless you say `keep=True`.

    >>> OverfitBatch(n=200)      # learn.fit(1, 1e-3, cbs=OverfitBatch(n=200))
    OverfitBatch(n=200, keep=False)
    """

    order = Order.SETUP
    persist = ("_first", "_last", "_valid", "_right")

    learns: bool | None = None
    """Whether the model learnt the batch; None before the end of a fit."""
    verdict: str = ""
    """What was said at the end of the fit."""

    _running = False  # in a fit: `learn.validate` alone is none

    def __init__(self, n: int = 100, *, keep: bool = False) -> None:
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"`n` counts the batches of an epoch and must be at least 1, got {n}")
        self.n = n
        self.keep = keep
        given_back = () if keep else ("final weights", "one batch")
        self.controls = ("epoch length", *given_back)

    @contextmanager
    def around_fit(self) -> Generator[None]:
        learn = self.learn
        loaders, progress = learn.dls.loaders, learn.progress
        changed = [m for m in (learn.model, learn.loss_func) if isinstance(m, nn.Module)]
        kept = list(loaders)
        batch = _first_batch(learn.dls)
        self._labels = _Labels.of(learn.dls.split(batch)[1], learn.loss_func)
        self._n_samples = batch_size(batch)
        self._first: Tensor | None = None
        self._last: Tensor | None = None
        self._valid: Tensor | None = None
        self._right: Tensor | None = None
        with ExitStack() as stack:
            if not self.keep:
                stack.enter_context(checkpoint.unchanged(*changed, opt=learn.opt))
            try:
                self._running = True
                loaders[:] = [_Repeated(batch, self.n), _Repeated(batch, 1)]
                progress.n_iter, progress.n_valid = self.n, 1
                yield
            finally:
                loaders[:] = kept
                self._labels, self._running = None, False

    def before_batch(self) -> None:
        self._yb = self.learn.yb  # as the loader gives them: another may change them

    def after_batch(self) -> None:
        learn = self.learn
        if learn.loss is None or not self._running:
            return
        if learn.training:
            self._last = learn.loss.detach()
            if self._first is None:
                self._first = self._last
        else:
            self._valid = learn.loss.detach()
            if self._labels is not None:
                self._right = self._labels.right(learn.pred, self._yb[0])

    def after_fit(self) -> None:
        if self._first is None or self._last is None:
            return
        learn, labels = self.learn, self._labels
        nan = torch.tensor(float("nan"))
        found = (self._first, self._last, self._valid, self._right)
        first, last, valid, right = read_together([nan if v is None else v for v in found])
        enough = _LEARNT * first if first > 0 else first
        all_right = labels is not None and right == labels.n
        self.learns = isfinite(last) and (last < enough or valid < enough or all_right)
        can = "the model can learn" if self.learns else "the model did not learn this batch"
        losses = (
            f"on one batch of {self._n_samples} the loss went from {first:.4g} to {last:.4g} "
            f"in {counted(learn.progress.train_iter, 'round')} ({valid:.4g} in evaluation)"
        )
        hits = labels.shown(right) if labels is not None and isfinite(right) else ""
        advice = _advice(learn, labels, learns=self.learns, nan=not isfinite(last))
        self.verdict = f"{can}: {losses}{hits}{advice and '. '}{advice}"
        learn.say(self.verdict)


def _advice(learn: Any, labels: "_Labels | None", *, learns: bool, nan: bool) -> str:
    """What to look at, the likeliest first; what can be told from here is named."""
    alike = labels is not None and labels.commonest == labels.n
    same = "all labels of the batch are the same, so this says little: shuffle the data"
    if learns:
        return same.capitalize() if alike else ""
    hints = [same] if alike else []
    if nan:
        hints.append("a lower rate (`learn.lr_find()`), NaN in the data")
    else:
        hints.append("another rate (`learn.lr_find()`) or more steps (`n`)")
    frozen = [p for p in learn.model.parameters() if not p.requires_grad]
    if frozen:
        tensors = counted(len(frozen), "frozen tensor")
        hints.append(f"the {tensors} of the model (`learn.unfreeze()`)")
    noisy = [repr(cb) for cb in learn.callbacks if {"mixing", "smoothing"} & set(cb.controls)]
    hints += [f"`{cb}`, which makes the targets soft" for cb in noisy]
    dropout = [m.p for m in learn.model.modules() if isinstance(m, nn.Dropout) and m.p]
    if dropout:
        hints.append(f"dropout (up to {max(dropout):g})")
    hints.append("whether loss and last layer suit the targets, whether inputs and labels match")
    return "Look at: " + "; ".join(hints)


class _Labels:
    """The class labels of a batch, where its targets are such: how many of them are right."""

    def __init__(self, targ: Tensor, ignore_index: int, axis: int) -> None:
        kept = targ.reshape(-1)
        kept = kept[kept != ignore_index].cpu()  # host sync: once a fit
        self.n = len(kept)
        self.commonest = int(kept.unique(return_counts=True)[1].max()) if self.n else 0
        self._ignore_index = ignore_index
        self._axis = axis

    @classmethod
    def of(cls, yb: tuple[Any, ...], loss_func: Any) -> "_Labels | None":
        if len(yb) != 1 or not isinstance(yb[0], Tensor):
            return None
        targ = yb[0]
        if targ.is_floating_point() or targ.is_complex() or targ.dtype is torch.bool:
            return None
        ignore_index = getattr(loss_func, "ignore_index", -100)
        return cls(targ, ignore_index, getattr(loss_func, "axis", 1))

    def shown(self, right: float) -> str:
        """That so many are right, beside what a model gets that always says the same."""
        return (
            f", and {right:.0f} of {self.n} labels are right (the commonest label alone gives "
            f"{self.commonest})"
        )

    def right(self, pred: Any, targ: Tensor) -> Tensor | None:
        """How many labels have the highest output, on the device; None if that is not to tell."""
        if not isinstance(pred, Tensor):
            return None
        for axis in (self._axis, -1):
            if -pred.ndim <= axis < pred.ndim:
                found = pred.detach().argmax(axis)
                if found.numel() == targ.numel():
                    found = found.view_as(targ)
                    return ((found == targ) & (targ != self._ignore_index)).sum()
        return None


class _Repeated:
    """A loader that gives one batch again and again, each time a copy: it may be changed."""

    def __init__(self, batch: Batch, n: int) -> None:
        self._batch = batch
        self._n = n

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[Batch]:
        return self.batches(0)

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        for _ in range(start, self._n):
            yield map_batch(self._batch, Tensor.clone)


def _first_batch(dls: DataLoaders) -> Batch:
    """The first batch of the first epoch: the same one whenever and wherever it is asked for."""
    train = dls.train
    with kept_rng(dls.device), kept_generators(train):
        seed_torch(_SEED)
        for generator in generators_of(train):
            generator.manual_seed(_SEED)
        if isinstance(train, EpochLoader) and callable(train.batches):
            return move(next(train.batches(0)), dls.device)
        return dls.raw_batch()
