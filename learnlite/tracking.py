"""Watching one measured value over the epochs: which column it is, and when it is the best."""

import math
import re
from collections.abc import Callable as Function
from typing import Any, Literal, TypeAlias

import torch

from learnlite.callback import Callback, did_you_mean
from learnlite.events import Order
from learnlite.types import check_number

Comparison: TypeAlias = Function[[Any, Any], Any] | Literal["min", "max"] | None
"""Which of two values is better: by a function as `np.less`, by a word, or as the name says."""

# What falls as a model gets better: names with such a part (rmse has mse in it), and with such a
# word between underscores, as the part alone would be found in "power" or "certainty".
_FALLING = ("loss", "error", "perplexity", "distance", "divergence", "hinge", "mse", "mae", "nll")
_FALLING_WORDS = {"mad", "mape", "smape", "msle", "rmsle", "bce", "kl", "wer", "cer", "fid"}
_PAIRS = ((0.0, 1.0), (-2.0, -1.0), (3.0, 5.0))  # the lower first, to try a comparison on


def lower_is_better(monitor: str, comp: Comparison = None) -> bool:
    """Whether smaller values of `monitor` are better: as `comp` says, else by its name.

    Names of losses, errors and distances fall (`loss_box`, `rmse`, `mape`, `nll`, `hinge`, `wer`,
    `perplexity`, …), others rise.

    >>> lower_is_better("valid_loss"), lower_is_better("accuracy"), lower_is_better("bleu", "min")
    (True, False, True)
    """
    if comp is None:
        name = monitor.lower()
        words = set(re.split(r"[\W_]+", name))
        return any(part in name for part in _FALLING) or bool(words & _FALLING_WORDS)
    falls = rises = False
    if isinstance(comp, str):
        falls, rises = comp == "min", comp == "max"
    elif callable(comp):
        falls = all(_prefers(comp, low, high) for low, high in _PAIRS)
        rises = all(_prefers(comp, high, low) for low, high in _PAIRS)
    if falls == rises:
        raise ValueError(
            '`comp` says which of two values is better: `np.less` or "min", `np.greater` or '
            f'"max"; got {comp!r}, which says neither'
        )
    return falls


def _prefers(comp: Function[[Any, Any], Any], one: float, other: float) -> bool:
    try:
        return bool(comp(one, other)) and not bool(comp(other, one))
    except TypeError:  # torch's comparisons take tensors only
        pair = torch.tensor(one), torch.tensor(other)
        return bool(comp(*pair)) and not bool(comp(*pair[::-1]))


class Tracker(Callback):
    """Keeps the best value of a column of the recorder's table, for callbacks that build on it.

    `monitor` is the column's name, with or without `valid_`; `comp` says which values are better,
    see `lower_is_better`; what is not better by more than `min_delta` does not count. NaN and
    infinite values are never the best. With `reset_on_fit=False` the best lasts over fits.

    >>> class Praise(Tracker):
    ...     def after_epoch(self):
    ...         super().after_epoch()
    ...         if self.new_best:
    ...             self.learn.say(f"well done, epoch {self.best_epoch}")
    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner, Recorder
    >>> from learnlite.data import two_moons
    >>> dls = DataLoaders.from_tensors(*two_moons(200), bs=32)
    >>> learn = Learner(dls, nn.Linear(2, 2), lr=0.0, cbs=[Recorder, Praise], default_cbs=False)
    >>> learn.fit(3)
    well done, epoch 0
    """

    order = Order.DECIDE
    persist: tuple[str, ...] = ("best", "best_epoch")

    def __init__(
        self,
        monitor: str = "valid_loss",
        comp: Comparison = None,
        min_delta: float = 0.0,
        reset_on_fit: bool = True,
    ) -> None:
        if not isinstance(monitor, str):
            raise TypeError(
                '`monitor` is the name of what is recorded, as "valid_loss" or "accuracy", '
                f"got {monitor!r}"
            )
        check_number("min_delta", min_delta)
        if not 0 <= min_delta < math.inf:
            raise ValueError(f"`min_delta` must be at least 0 and finite, got {min_delta}")
        self.monitor = monitor
        self.comp = comp
        self.min_delta = min_delta
        self.reset_on_fit = reset_on_fit
        self.falls = lower_is_better(monitor, comp)
        self.new_best = False
        self._forget()

    def _forget(self) -> None:
        self.best = math.inf if self.falls else -math.inf
        self.best_epoch: int | None = None

    def before_fit(self) -> None:
        self._column = self._find_column()
        if self.reset_on_fit:
            self._forget()
        self.best_epoch, self.new_best = None, False

    def after_epoch(self) -> None:
        value = self.value()
        self.new_best = math.isfinite(value) and (
            value + self.min_delta < self.best if self.falls else value - self.min_delta > self.best
        )
        if self.new_best:
            self.best, self.best_epoch = value, self.learn.epoch

    def value(self) -> float:
        """What this epoch gave."""
        return self.learn.recorder.last(self._column)

    @property
    def extreme(self) -> str:
        """What the best value is among all, for a line to the user: so the direction is told."""
        return "lowest" if self.falls else "highest"

    def shown_best(self) -> str:
        """The best value and where it was, for a line to the user."""
        if not math.isfinite(self.best):
            return "nowhere finite"
        where = "an earlier fit" if self.best_epoch is None else f"epoch {self.best_epoch}"
        return f"{self.best:.5g} in {where}"

    def _find_column(self) -> str:
        """The column that `monitor` means in this fit."""
        names = self.learn.recorder.names
        monitor = self.monitor
        spellings = [monitor, f"valid_{monitor}"]
        if "valid_loss" in names:
            spellings.append(monitor.removeprefix("valid_"))
        for name in spellings:
            if name in names:
                return name
        raise ValueError(f"`{monitor}` is not recorded{self._way_out(names)}")

    def _way_out(self, names: list[str]) -> str:
        """What is recorded in place of `monitor`, and what would be if it were asked for."""
        learn, monitor = self.learn, self.monitor
        measured = [metric.name for metric in learn.metrics]
        metric = monitor.removeprefix("valid_").removeprefix("train_")
        untold = metric in measured and not learn.recorder.train_metrics
        with_it = "`learn.recorder.train_metrics = True`"
        if learn.progress.n_valid:
            if untold and monitor.startswith("train_"):
                return f"; it is with {with_it}"
            return did_you_mean(monitor, names)
        verb = "is" if len(names) == 1 else "are"
        there = f", as there is no validation set; there {verb} {_listed(names)}"
        return f"{there}, and with {with_it} `{metric}` of the training pass" if untold else there


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


TrackerCallback = Tracker
