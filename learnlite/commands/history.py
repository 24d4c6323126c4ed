"""What was measured over all fits of a run, also over those before it was interrupted."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

from learnlite.callback import Callback
from learnlite.events import Order
from learnlite.optim import what_trains
from learnlite.report import Curves
from learnlite.types import counted


class History(Callback):
    """Gathers the recorder's tables of one fit after another, as the two of `fine_tune`.

    >>> import torch
    >>> from learnlite import DataLoaders, Learner
    >>> dls = DataLoaders([(torch.ones(4, 1), torch.zeros(4, 1))], device="cpu")
    >>> history = History()
    >>> learn = Learner(dls, torch.nn.Linear(1, 1), torch.nn.MSELoss(), cbs=history)
    >>> with learn.no_logging():
    ...     learn.fit(2)
    ...     learn.fit(3)
    >>> len(learn.recorder.values), len(history.curves.losses)
    (3, 5)
    """

    order = Order.SAVE - 1  # before a state is saved, and before a table is begun

    def __init__(self) -> None:
        self._past = Curves()
        self._seconds: list[float] = []
        self._started = time.perf_counter()

    @property
    def curves(self) -> Curves:
        """All of it, with the running fit."""
        curves = deepcopy(self._past)
        if self.learn.recorder.values:
            curves.add(self.learn.recorder)
            n = len(self._seconds)
            curves.seconds[len(curves.seconds) - n :] = self._seconds
        return curves

    @contextmanager
    def around_fit(self) -> Generator[None]:
        learn = self.learn
        what = what_trains(learn.model, learn.layer_groups)
        learn.say(f"training {what}, {counted(learn.n_epoch, 'epoch')}:")
        yield

    def before_fit(self) -> None:
        if self._pending is not None:
            self._past = self._pending
        self._pending, self._seconds = None, []

    def before_epoch(self) -> None:
        self._started = time.perf_counter()

    def after_epoch(self) -> None:
        self._seconds.append(time.perf_counter() - self._started)

    def after_fit(self) -> None:
        self._pending = self.curves

    _pending: Curves | None = None

    def state_dict(self) -> dict[str, Any]:
        """The fits before this one; once it is over, this one too."""
        return {
            "past": vars(self._past),
            "pending": self._pending and vars(self._pending),
            "seconds": self._seconds,
            "elapsed": time.perf_counter() - self._started,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        if state:
            self._past = Curves(**state["past"])
            self._pending = Curves(**state["pending"]) if state["pending"] else None
            self._seconds = state.get("seconds", [])
            self._started = time.perf_counter() - state.get("elapsed", 0.0)
