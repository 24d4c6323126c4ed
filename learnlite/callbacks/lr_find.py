"""The learning-rate finder: a short run with a growing rate, of which nothing remains."""

import math
import warnings
from collections.abc import Callable as Function
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

from learnlite import optim
from learnlite.callback import Callback
from learnlite.events import CancelFitException, Order
from learnlite.plots import axes
from learnlite.suggest import Curve
from learnlite.tally import Clock, LossLog, Smoothed

_DIVERGED = 4.0  # times the best smoothed loss


class LRFinder(Callback):
    """Raises the learning rate from `start_lr` to `end_lr` in `num_it` batches; records the loss.

    With `stop_div` the run ends when the smoothed loss is four times its best. The losses are
    looked at a few times a second only; what came after the divergence is dropped, so the result
    does not depend on when that was.

    >>> finder = LRFinder(1e-4, 1, num_it=5)    # `learn.lr_find` runs it, and undoes the run
    >>> [round(finder.lr(i), 6) for i in range(5)]
    [0.0001, 0.001, 0.01, 0.1, 1.0]
    """

    order = Order.RECORD
    run_valid = False
    controls = ("lr",)

    def __init__(
        self, start_lr: float = 1e-7, end_lr: float = 10, num_it: int = 100, stop_div: bool = True
    ) -> None:
        if not 0 < start_lr < end_lr:
            raise ValueError(
                f"`start_lr` must be above 0 and below `end_lr`, got {start_lr} and {end_lr}"
            )
        if num_it < 2:
            raise ValueError(f"`num_it` must be at least 2, got {num_it}")
        self.start_lr = start_lr
        self.end_lr = end_lr
        self.num_it = num_it
        self.stop_div = stop_div

    def lr(self, i: int) -> float:
        """The rate of batch `i`: even steps on a logarithmic scale."""
        return self.start_lr * (self.end_lr / self.start_lr) ** (i / (self.num_it - 1))

    @contextmanager
    def around_fit(self) -> Generator[None]:
        self._losses = LossLog()
        self._lrs: list[float] = []
        self._clock = Clock()
        self._set_lr = optim.hyper_setter(self.learn.opt, "lr")
        self.learn.progress.n_valid = 0  # it only trains; the next fit counts anew
        yield

    def state_dict(self) -> dict[str, Any]:
        """The rates and losses so far."""
        if "_lrs" not in vars(self):
            return {}
        return {"lrs": self._lrs, "losses": self._losses.values()}  # host sync: once a checkpoint

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        if state:
            self._lrs = state["lrs"]
            self._losses.restore(state["losses"])

    def before_batch(self) -> None:
        self._set_lr(self.lr(self.learn.train_iter))

    def after_batch(self) -> None:
        learn = self.learn
        if learn.loss is not None:
            self._losses.add(learn.loss)
            self._lrs.append(self.lr(learn.train_iter))
        if learn.train_iter + 1 >= self.num_it:
            raise CancelFitException(f"{self.num_it} batches are done")
        if self.stop_div and self._clock.due() and self._end() < len(self._lrs):
            raise CancelFitException("the loss diverged")

    @property
    def lrs(self) -> list[float]:
        """The rates tried, up to the divergence."""
        return self._lrs[: self._end()]

    @property
    def losses(self) -> list[float]:
        """The smoothed losses at these rates."""
        return self._smoothed()[: self._end()]

    def _smoothed(self) -> list[float]:
        smoothed = Smoothed()
        return [smoothed.add(loss) for loss in self._losses.values()]

    def _end(self) -> int:
        """How many batches count: those up to the one at which the loss diverged."""
        losses = self._smoothed()
        best = math.inf
        for i, loss in enumerate(losses):
            if not math.isfinite(loss):
                return i
            best = min(best, loss)
            if self.stop_div and loss > _DIVERGED * best:
                return i + 1
        return len(losses)


def suggestions(
    lrs: Curve,
    losses: Curve,
    num_it: int,
    functions: Sequence[Function[..., Any]],
) -> dict[str, tuple[float, tuple[float, float]] | tuple[None, None]]:
    """What each function suggests by its name: a rate and its point on the curve, or None twice."""
    found: dict[str, Any] = {}
    for function in functions:
        name = getattr(getattr(function, "func", function), "__name__", type(function).__name__)
        try:
            found[name] = function(lrs, losses, num_it)
        except ValueError as error:
            warnings.warn(f"`{name}` suggests nothing: {error}", stacklevel=3)
            found[name] = (None, None)
    return found


def plot_lr_find(
    lrs: Curve,
    losses: Curve,
    points: dict[str, tuple[float, float]],
    ax: Any = None,
) -> Any:
    """The loss over the learning rate, with the suggested points on it."""
    ax = axes(ax)
    ax.plot(lrs, losses)
    ax.set_xscale("log")
    ax.set(xlabel="learning rate", ylabel="loss")
    for i, (name, (lr, loss)) in enumerate(points.items()):
        ax.plot(lr, loss, "o", color=f"C{i + 1}", label=f"{name}: {lr:.1e}")
    if points:
        ax.legend(loc="best")
    return ax
