"""Averages of the weights, which are often better than the weights themselves."""

# torch's documented functions of many tensors at once begin with an underscore:
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import get_swa_multi_avg_fn

from learnlite.callback import Callback
from learnlite.events import Order
from learnlite.types import check_number, counted


class EMA(Callback):
    """Averages the weights over the last steps, exponentially; validates and saves the average.

    After each step the average moves by `1 - decay` towards the weights; with `warmup` the decay of
    step `t` is at most (1 + t)/(10 + t), so that the first weights are soon forgotten. At the end
    of the fit the model has the averaged weights. Buffers (as BatchNorm's statistics) stay the
    model's own.

    >>> EMA(0.99)
    EMA(decay=0.99, warmup=True)
    """

    order = Order.OPTIM + 5  # before the end of the fit loads a best model
    controls = ("average",)
    of_weights = True
    run_valid = False

    def __init__(self, decay: float = 0.999, warmup: bool = True) -> None:
        check_number("decay", decay)
        if not 0 <= decay < 1:
            raise ValueError(
                f"`decay` is the share of the average that stays, from 0 to below 1; got {decay}"
            )
        self.decay = decay
        self.warmup = warmup
        self._averages: list[Tensor] = []
        self._params: list[Tensor] = []

    @contextmanager
    def around_fit(self) -> Generator[None]:
        self._params = _floats(self.learn.model)
        self._averages = [p.detach().clone() for p in self._params]
        self._steps = 0
        try:
            yield
        finally:
            self._averages, self._params = [], []

    def after_step(self) -> None:
        t = self._steps
        self._steps = t + 1
        decay = min(self.decay, (1 + t) / (10 + t)) if self.warmup else self.decay
        with torch.no_grad():  # as `swa_utils.get_ema_multi_avg_fn` does, at half its cost
            torch._foreach_lerp_(self._averages, self._params, 1 - decay)

    def after_fit(self) -> None:
        with self.learn.whole_step:
            _copy(self._averages, self._params)

    @contextmanager
    def around_validate(self) -> Generator[None]:
        own = [p.detach().clone() for p in self._params]
        try:
            with self.learn.whole_step:
                _copy(self._averages, self._params)
            yield
        finally:
            with self.learn.whole_step:
                _copy(own, self._params)

    around_save = around_validate

    def state_dict(self) -> dict[str, Any]:
        return {"averages": self._averages, "steps": self._steps} if self._averages else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state and self._averages:
            _copy(state["averages"], self._averages)
            self._steps = state["steps"]
        else:  # the state of a fit that was over: its weights are the average
            _copy(self._params, self._averages)


class SWA(Callback):
    """Averages the weights at the ends of the last epochs, evenly: stochastic weight averaging.

    The average begins with epoch `start` (or, below 1, after that part of the epochs) and is put
    into the model when the fit ends; then one more pass over the training data measures the
    statistics of BatchNorm layers anew, as those of the average are others. A rate that stays
    high, as in `fit_flat_cos`, gives it most to average.

    >>> SWA(start=0.75)
    SWA(start=0.75)
    """

    order = Order.OPTIM + 5
    controls = ("average", "final weights")
    of_weights = True
    run_train = False

    def __init__(self, start: float = 0.75) -> None:
        check_number("start", start)
        if not (0 <= start < 1 or (start >= 1 and not isinstance(start, float))):
            raise ValueError(
                "`start` is an epoch (an integer from 0), or a part of the epochs below 1 (0.75), "
                f"got {start}"
            )
        self.start = start
        self._averages: list[Tensor] = []
        self._params: list[Tensor] = []
        self._due = False
        self._estimating: list[_BatchNorm] = []
        self._frozen: list[_BatchNorm] = []

    @property
    def first(self) -> int:
        """The first epoch that counts."""
        n_epoch = self.learn.n_epoch
        return int(self.start * n_epoch) if self.start < 1 else int(self.start)

    @contextmanager
    def around_fit(self) -> Generator[None]:
        self._params = _floats(self.learn.model)
        self._averages = [p.detach().clone() for p in self._params]
        self._n = 0
        try:
            yield
        finally:
            self._averages, self._params, self._frozen = [], [], []

    def before_fit(self) -> None:
        if self.learn.n_epoch and self.first >= self.learn.n_epoch:
            raise ValueError(
                f"`{self!r}` would begin with epoch {self.first}, but this fit has "
                f"{self.learn.n_epoch} (0 to {self.learn.n_epoch - 1}); begin earlier, or use a "
                "part of them as `SWA(start=0.75)`"
            )

    def after_train(self) -> None:
        self._frozen = [m for m in _norms(self.learn.model) if not m.training]  # by `BnFreeze`
        if self.learn.epoch >= self.first:
            if self._n:
                get_swa_multi_avg_fn()(self._averages, self._params, self._n)
            else:
                _copy(self._params, self._averages)
            self._n += 1

    def after_fit(self) -> None:
        learn = self.learn
        if not self._n:
            return
        _copy(self._averages, self._params)
        self._averages, self._params = [], []
        if self._measured():
            self._due = True
            learn.validate(dl=learn.dls.train)
        learn.say(f"SWA: the model has the mean of the weights of {counted(self._n, 'epoch')}")

    @contextmanager
    def around_validate(self) -> Generator[None]:
        if not self._due:
            yield
            return
        self._due = False
        model: Any = self.learn.model
        compiled, model._compiled_call_impl = model._compiled_call_impl, None  # each momentum anew
        norms = [(module, module.momentum) for module in self._measured()]
        self.learn.progress.n_valid = self.learn.progress.n_iter  # an epoch may be a short one
        for module, _ in norms:
            module.reset_running_stats()
            module.train()
        self._estimating = [module for module, _ in norms]
        try:
            yield
        finally:
            self._estimating = []
            model._compiled_call_impl = compiled
            for module, momentum in norms:
                module.momentum = momentum

    def _measured(self) -> list[_BatchNorm]:
        """The layers whose statistics training has changed."""
        return [m for m in _norms(self.learn.model) if m not in self._frozen]

    def before_batch(self) -> None:
        for module in self._estimating:
            # The mean over all batches; torch's own way to it, None, reads the device at each.
            module.momentum = 1 / (self.learn.iter + 1)

    def state_dict(self) -> dict[str, Any]:
        return {"averages": self._averages, "n": self._n} if self._averages else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state and self._averages:
            _copy(state["averages"], self._averages)
            self._n = state["n"]


def _floats(model: nn.Module) -> list[Tensor]:
    """The parameters that can be averaged."""
    return [p for p in model.parameters() if p.is_floating_point() or p.is_complex()]


def _norms(model: nn.Module) -> Generator[_BatchNorm]:
    for module in model.modules():
        if isinstance(module, _BatchNorm) and module.track_running_stats:
            yield module


def _copy(source: list[Tensor], target: list[Tensor]) -> None:
    if target:  # as data: autograd need not know, also in the middle of a batch
        for t, s in zip(target, source, strict=True):
            t.data.copy_(s.data)
