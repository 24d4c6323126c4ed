"""Hyper-parameters that change while training: our schedules, and torch's."""

import warnings
from collections.abc import Callable as Function
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from learnlite import optim
from learnlite.callback import Callback, Order
from learnlite.plots import axes

Per = Literal["batch", "epoch"]


def _check_per(per: str) -> None:
    if per not in ("batch", "epoch"):
        raise ValueError(f'`per` is "batch" or "epoch", got {per!r}')


class ParamScheduler(Callback):
    """Sets hyper-parameters from schedules: functions of the part of training that is done.

    `scheds` maps names (`lr mom wd eps beta2 …`) to schedules. With `per="epoch"` a value stands
    for a whole epoch. After the fit the hyper-parameters are what they were before it.

    >>> from learnlite.schedules import SchedCos
    >>> ParamScheduler({"lr": SchedCos(0.1, 0.0)}, per="epoch")   # cosine per epoch, to 0
    ParamScheduler(lr, per='epoch')
    """

    order = Order.OPTIM
    run_valid = False

    made_by: str | None = None
    """The method of the learner that made it, for messages: its user did not."""
    made_with: Mapping[str, Any] = MappingProxyType({})
    """The arguments of that method, as plain values."""

    def __init__(self, scheds: Mapping[str, Function[[float], Any]], per: Per = "batch") -> None:
        _check_per(per)
        self.scheds = dict(scheds)
        self.per = per
        self.controls = frozenset(self.scheds)

    @contextmanager
    def around_fit(self) -> Generator[None]:
        opt = self.learn.opt
        before = {
            name: optim.get_hyper(opt, name) for name in self.scheds
        }  # unknown names fail here
        for name, sched in self.scheds.items():
            for position in (0.0, 0.5, 1.0):
                optim.check_value(opt, name, sched(position))
        self._bind()
        try:
            yield
        finally:
            for name, values in before.items():
                optim.set_hyper(opt, name, values)
            del self._drivers, self._opt

    def _bind(self) -> None:
        self._opt = self.learn.opt
        self._drivers = [
            (optim.hyper_setter(self._opt, name), sched) for name, sched in self.scheds.items()
        ]

    def before_epoch(self) -> None:
        if self._opt is not self.learn.opt:  # a callback has made a new one
            self._bind()
        self._set(self.learn.progress.epochs / (self.learn.progress.n_epoch or 1))

    def before_batch(self) -> None:
        if self.per == "batch":
            self._set(self.learn.progress.pct_train)

    def _set(self, position: float) -> None:
        for set_values, sched in self._drivers:
            set_values(sched(position))

    def plot(self, n: int = 200) -> Any:
        """The schedules, before any training."""
        panels = axes(n=len(self.scheds))
        for ax, (name, sched) in zip(panels, self.scheds.items(), strict=True):
            ax.plot([i / n for i in range(n)], [sched(i / n) for i in range(n)])
            ax.set(xlabel="part of training", ylabel=name)
        return panels

    def __repr__(self) -> str:
        return f"ParamScheduler({', '.join(self.scheds)}, per={self.per!r})"


class TorchScheduler(Callback):
    """Steps one of torch's learning-rate schedulers, after every batch or every epoch.

    `factory` makes it from the optimizer, anew at each fit.

    >>> from functools import partial
    >>> from torch.optim.lr_scheduler import CosineAnnealingLR
    >>> cosine = TorchScheduler(partial(CosineAnnealingLR, T_max=60), per="epoch")
    """

    order = Order.OPTIM
    run_valid = False
    controls = ("lr",)

    def __init__(self, factory: Function[[Optimizer], Any], per: Per = "batch") -> None:
        _check_per(per)
        if not callable(factory):
            raise TypeError(
                f"`factory` makes a scheduler from an optimizer, got {type(factory).__name__}; "
                "pass for example `partial(CosineAnnealingLR, T_max=60)`"
            )
        self.factory = factory
        self.per = per

    @contextmanager
    def around_fit(self) -> Generator[None]:
        opt = self.learn.opt
        keys = set(opt.param_groups[0])
        before = {name: optim.get_hyper(opt, name) for name in optim.hyper_names(opt)}
        self.begun = False
        try:
            for group in opt.param_groups:
                group.pop("initial_lr", None)  # torch would start from the last fit's rate
            self.scheduler = self.factory(opt)
            self._check(self.scheduler)
            yield
        finally:
            # A scheduler counts steps by a wrapper on the optimizer, and leaves keys behind.
            vars(opt).pop("step", None)
            for group in opt.param_groups:
                for key in set(group) - keys:
                    del group[key]
            for name, values in before.items():
                optim.set_hyper(opt, name, values)

    def before_batch(self) -> None:
        if self.per == "batch":
            self._step()

    def before_train(self) -> None:
        if self.per == "epoch":
            self._step()

    def _check(self, scheduler: Any) -> None:
        if isinstance(scheduler, ReduceLROnPlateau):
            raise ValueError(
                "`ReduceLROnPlateau` steps on a measured value, which `TorchScheduler` does not "
                "give it; pass learnlite's callback of that name, with the same arguments"
            )
        if not isinstance(scheduler, LRScheduler):
            raise TypeError(f"`factory` gave a {type(scheduler).__name__}, not a torch scheduler")

    def _step(self) -> None:
        """Go on to the next rate, unless this is the first: what is recorded is what was used."""
        if not self.begun:
            self.begun = True
            return
        # torch warns of a step that was skipped, which here is nobody's mistake.
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="Detected call of `lr_scheduler.step", category=UserWarning
            )
            self.scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        if "scheduler" not in vars(self):
            return {}
        return {"scheduler": self.scheduler.state_dict(), "begun": self.begun}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if "scheduler" in state:
            self.scheduler.load_state_dict(state["scheduler"])
            self.begun = state["begun"]
