"""Watching how training goes, and acting on it."""

import math
import warnings

from learnlite.callback import Callback
from learnlite.events import CancelFitException, Order
from learnlite.tally import Clock, LossLog


class TerminateOnNaN(Callback):
    """Ends the fit when the loss becomes NaN or infinite, and says where and at what rate.

    The losses are looked at about five times a second and at the end of each training pass, so that
    no batch waits for the device; the batch that is named is the right one.
    """

    order = Order.DECIDE
    run_valid = False

    def before_fit(self) -> None:
        self._losses = LossLog()
        self._batches: list[tuple[int, int, float]] = []
        self._seen = 0
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
        losses = self._losses.values()
        for i in range(self._seen, len(losses)):
            if not math.isfinite(losses[i]):
                epoch, batch, lr = self._batches[i]
                message = (
                    f"the loss became {losses[i]} at batch {batch} of epoch {epoch}, at a "
                    f"learning rate of {float(lr):.3g}; training stops. Try a lower rate "
                    "(`learn.lr_find()` suggests one), clip the gradients, or look for NaN and "
                    "infinite values in the data"
                )
                self._seen = len(losses)
                warnings.warn(message, RuntimeWarning, stacklevel=2)
                raise CancelFitException(message)
        self._seen = len(losses)


TerminateOnNaNCallback = TerminateOnNaN
