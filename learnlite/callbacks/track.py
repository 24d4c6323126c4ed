"""Watching how training goes, and acting on it."""

import math
import warnings
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Literal

from torch.optim import lr_scheduler

from learnlite import optim
from learnlite.callback import Callback
from learnlite.events import CancelFitException, Order
from learnlite.optim.decay import layer_group_of
from learnlite.tally import Clock, LossLog
from learnlite.tracking import Comparison, Tracker
from learnlite.types import check_number, counted


class TerminateOnNaN(Callback):
    """Ends the fit when the loss becomes NaN or infinite, and says where and at what rate.

    The losses are looked at about five times a second and at the end of each training pass, so that
    no batch waits for the device; the batch that is named is the right one.

    >>> import warnings
    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner
    >>> from learnlite.optim import SGD
    >>> from learnlite.data import two_moons
    >>> dls = DataLoaders.from_tensors(*two_moons(200), bs=32)
    >>> learn = Learner(dls, nn.Linear(2, 2), opt_func=SGD, lr=1e38, cbs=TerminateOnNaN)
    >>> with learn.no_logging(), warnings.catch_warnings(action="ignore"):
    ...     learn.fit(100)
    >>> len(learn.recorder.values) < 100
    True
    """

    order = Order.DECIDE
    run_valid = False

    def before_fit(self) -> None:
        self._losses = LossLog()
        self._batches: list[tuple[int, int, float]] = []
        self._clock = Clock()

    def after_batch(self) -> None:
        learn = self.learn
        if learn.loss is None:
            return
        self._losses.add(learn.loss)
        self._batches.append((learn.epoch, learn.iter, learn.opt.param_groups[-1]["lr"]))
        if self._clock.due():
            self._look()

    def after_train(self) -> None:
        self._look()

    def _look(self) -> None:
        batches, self._batches = self._batches, []
        for loss, (epoch, batch, lr) in zip(self._losses.drain(), batches, strict=True):
            if not math.isfinite(loss):
                message = (
                    f"the loss became {loss} at batch {batch} of epoch {epoch}, at a "
                    f"learning rate of {float(lr):.3g}; training stops. Try a lower rate "
                    "(`learn.lr_find()` suggests one), clip the gradients, or look for NaN and "
                    "infinite values in the data"
                )
                warnings.warn(message, RuntimeWarning, stacklevel=2)
                raise CancelFitException(message)


class EarlyStopping(Tracker):
    """Ends the fit after `patience` epochs in a row in which `monitor` was no better than its best.

    The other arguments are those of `Tracker`. An epoch whose value is NaN is no better.

    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner
    >>> from learnlite.data import two_moons
    >>> dls = DataLoaders.from_tensors(*two_moons(200), bs=32)
    >>> learn = Learner(dls, nn.Linear(2, 2), lr=0.0)  # which learns nothing
    >>> with learn.no_logging():
    ...     learn.fit(100, cbs=EarlyStopping(patience=2))
    >>> len(learn.recorder.values)
    3
    """

    persist = (*Tracker.persist, "wait")

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Comparison = None,
        min_delta: float = 0.0,
        patience: int = 1,
        reset_on_fit: bool = True,
    ) -> None:
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        _check_count("patience", patience, 1)
        self.patience = patience
        self.wait = 0

    def before_fit(self) -> None:
        super().before_fit()
        self.wait = 0

    def after_epoch(self) -> None:
        super().after_epoch()
        self.wait = 0 if self.new_best else self.wait + 1
        if self.wait >= self.patience:
            message = (
                f"epoch {self.learn.epoch}: training stops, as `{self.monitor}` is "
                f"{self.value():.5g} and has not improved for {counted(self.wait, 'epoch')}; its "
                f"{self.extreme} was {self.shown_best()}"
            )
            self.learn.say(message)
            raise CancelFitException(message)


class ReduceLROnPlateau(Tracker):
    """Cuts the learning rate when `monitor` has stopped improving, as torch's scheduler does.

    `patience` epochs without improvement pass, and the next one cuts; then `cooldown` epochs are
    not counted. Better is what is so by the part `threshold` of the best (with
    `threshold_mode="abs"`, by so much; with a `min_delta`, by more than that). The rate of each
    layer group is multiplied by `factor`, or divided by one above 1, down to `min_lr`, which may be
    one for each group. Epochs whose value is not finite do not count. After the fit the rates are
    what they were.

    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner
    >>> from learnlite.data import two_moons
    >>> dls = DataLoaders.from_tensors(*two_moons(100), bs=80)
    >>> learn = Learner(dls, nn.Linear(2, 2), lr=0.1)
    >>> with learn.no_logging():  # no epoch is better by so much
    ...     learn.fit(5, cbs=ReduceLROnPlateau(min_delta=100, patience=1))
    >>> [round(lr, 4) for lr in learn.recorder.lrs]
    [0.1, 0.1, 0.1, 0.01, 0.01]
    """

    controls = ("lr",)
    persist = (*Tracker.persist, "bad_epochs", "cooldown_left", "_warned")

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Comparison = None,
        min_delta: float = 0.0,
        patience: int = 10,
        factor: float = 0.1,
        min_lr: float | Sequence[float] = 0.0,
        reset_on_fit: bool = True,
        *,
        threshold: float = 1e-4,
        threshold_mode: Literal["rel", "abs"] = "rel",
        cooldown: int = 0,
        eps: float = 1e-8,
    ) -> None:
        super().__init__(monitor, comp, min_delta, reset_on_fit)
        _check_count("patience", patience, 0)
        _check_count("cooldown", cooldown, 0)
        for name, value in (("factor", factor), ("threshold", threshold), ("eps", eps)):
            check_number(name, value)
        for floor in min_lr if isinstance(min_lr, Sequence) else [min_lr]:
            check_number("min_lr", floor)
        if not 0 < factor < math.inf or factor == 1:
            raise ValueError(
                "`factor` multiplies the rate (0.1), or divides it if above 1 (10); "
                f"got {factor}, which does not lower it"
            )
        if threshold_mode not in ("rel", "abs"):
            raise ValueError(f'`threshold_mode` is "rel" or "abs", got {threshold_mode!r}')
        if not 0 <= threshold < (1 if threshold_mode == "rel" else math.inf):
            raise ValueError(
                "`threshold` must be at least 0 and, as a part of the best value, below 1; "
                f'got {threshold} (`threshold_mode="{threshold_mode}"`)'
            )
        self.patience = patience
        self.factor = factor
        self.min_lr = min_lr
        self.threshold = threshold
        self.threshold_mode: Literal["rel", "abs"] = threshold_mode
        self.cooldown = cooldown
        self.eps = eps
        self._reset()

    def _reset(self) -> None:
        self.bad_epochs = 0
        self.cooldown_left = 0
        self._warned = False

    @contextmanager
    def around_fit(self) -> Generator[None]:
        opt = self.learn.opt
        before = optim.get_hyper(opt, "lr")
        try:
            yield
        finally:
            optim.set_hyper(opt, "lr", before)

    def before_fit(self) -> None:
        super().before_fit()
        self._reset()
        self._scheduler()  # says now what is wrong with its arguments

    def after_epoch(self) -> None:
        self.new_best, value, opt = False, self.value(), self.learn.opt
        if not math.isfinite(value):
            self._warn(value)
            return
        before = optim.get_hyper(opt, "lr")
        scheduler = self._scheduler()
        scheduler.step(value)
        self.bad_epochs, self.cooldown_left = scheduler.num_bad_epochs, scheduler.cooldown_counter
        if scheduler.best != self.best:
            self.best, self.best_epoch, self.new_best = value, self.learn.epoch, True
        after = optim.get_hyper(opt, "lr")
        if after != before:
            self.learn.say(
                f"epoch {self.learn.epoch}: the learning rate goes from {_rates(before)} to "
                f"{_rates(after)}, as `{self.monitor}` is {value:.5g}; its {self.extreme} was "
                f"{self.shown_best()}"
            )

    def _scheduler(self) -> lr_scheduler.ReduceLROnPlateau:
        """Torch's scheduler as it stands, made for one step: what it remembers is kept here."""
        opt = self.learn.opt
        scheduler = lr_scheduler.ReduceLROnPlateau(
            opt,
            mode="min" if self.falls else "max",
            factor=min(self.factor, 1 / self.factor),
            patience=self.patience,
            threshold=self.min_delta or self.threshold,  # a `min_delta` that is given comes first
            threshold_mode="abs" if self.min_delta else self.threshold_mode,
            cooldown=self.cooldown,
            min_lr=self._floors(),
            eps=self.eps,
        )
        scheduler.best = self.best
        scheduler.num_bad_epochs = self.bad_epochs
        scheduler.cooldown_counter = self.cooldown_left
        return scheduler

    def _floors(self) -> list[float]:
        """The lowest rate of each of the optimizer's groups."""
        opt = self.learn.opt
        parts = layer_group_of(opt)
        given = self.min_lr
        floors = list(given) if isinstance(given, Sequence) else [given] * len(parts)
        if len(floors) != len(parts):
            raise ValueError(
                f"got {len(floors)} values of `min_lr` for {len(parts)} layer groups; "
                "give one, or one for each"
            )
        if not all(0 <= floor < math.inf for floor in floors):
            raise ValueError(f"`min_lr` must be at least 0 and finite, got {given}")
        floor_of = {
            id(group): floor
            for groups, floor in zip(parts, floors, strict=True)
            for group in groups
        }
        return [floor_of[id(group)] for group in opt.param_groups]

    def _warn(self, value: float) -> None:
        if self.learn.cancelled is None and not self._warned:
            self._warned = True
            warnings.warn(
                f"`{self.monitor}` is {value} in epoch {self.learn.epoch}; such epochs do not "
                "count for `ReduceLROnPlateau`",
                stacklevel=2,
            )


def _check_count(name: str, value: int, least: int) -> None:
    check_number(name, value, whole=True)
    if value < least:
        raise ValueError(f"`{name}` counts epochs and must be at least {least}, got {value}")


def _rates(rates: list[float]) -> str:
    """The rates of the layer groups for a message, or the one that all have."""
    texts = [f"{rate:.3g}" for rate in rates]
    return texts[0] if len(set(texts)) == 1 else f"[{', '.join(texts)}]"


TerminateOnNaNCallback = TerminateOnNaN
EarlyStoppingCallback = EarlyStopping
