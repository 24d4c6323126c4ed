"""Steps that look for flat minima."""

# torch's documented functions of many tensors at once begin with an underscore:
# pyright: reportPrivateUsage=false, reportPrivateImportUsage=false

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from learnlite.callback import Callback
from learnlite.data.batch import batch_size
from learnlite.events import Order
from learnlite.types import check_number


class SAM(Callback):
    """Steps with the gradient found at the worst point within `rho`: sharpness-aware minimization.

    The batches of each step run a second time, at weights moved by `rho` along the gradient, so a
    step costs twice as much. `adaptive` measures the way relative to each weight's size (ASAM, with
    a `rho` ten times as large). Buffers, as BatchNorm's statistics, are those of the first run.
    Gradients that a callback made in place of a backward pass are left as they are.

    >>> SAM(0.05)
    SAM(rho=0.05, adaptive=False)
    """

    order = Order.SETUP + 1  # before those that change gradients; sees the targets the loss had
    run_valid = False
    controls = ("the place of the gradient",)
    refuses = {"loss scaling": "its second gradient would need a scale of its own"}

    def __init__(self, rho: float = 0.05, adaptive: bool = False) -> None:
        check_number("rho", rho)
        if not rho > 0:
            raise ValueError(f"`rho` is a distance above 0, got {rho}")
        self.rho = rho
        self.adaptive = adaptive
        self._window: list[tuple[Any, tuple[Any, ...]]] = []
        self._batch: tuple[Any, tuple[Any, ...]] = (), ()
        self._again = False

    @contextmanager
    def around_fit(self) -> Generator[None]:
        self._window = []
        try:
            yield
        finally:
            self._window, self._batch = [], ((), ())

    def after_loss(self) -> None:
        if not self._again:
            self._batch = self.xb, self.yb  # as the loss had it: mixup puts the labels back now

    def after_backward(self) -> None:
        if self.learn.cancelled is None:  # else it gave no gradients
            self._window.append(self._batch)

    def before_batch(self) -> None:
        if self.learn.progress.window_opens:
            self._window = []

    def before_step(self) -> None:
        if not self._window:  # the gradients are a callback's own
            return
        params = [
            p for group in self.opt.param_groups for p in group["params"] if p.grad is not None
        ]
        weights = [p.data for p in params]
        own = [w.clone() for w in weights]
        statistics = list(self.model.buffers())
        first_statistics = [b.clone() for b in statistics]
        batch = self.xb, self.yb, self.pred, self.loss
        self._again = True
        try:
            torch._foreach_add_(weights, self._way(params, weights))
            for p in params:
                p.grad = None
            self._run_window()
        finally:
            with self.learn.whole_step:
                for changed, kept in ((weights, own), (statistics, first_statistics)):
                    for tensor, value in zip(changed, kept, strict=True):
                        tensor.copy_(value)
                self.xb, self.yb, self.pred, self.loss = batch
                self._again = False

    @torch.no_grad()
    def _way(self, params: list[Tensor], weights: list[Tensor]) -> list[Tensor]:
        """From the weights to the worst point nearby, along the gradient."""
        gradients: Any = [p.grad for p in params]
        if self.adaptive:
            gradients = torch._foreach_mul(gradients, torch._foreach_abs(weights))
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        way = torch._foreach_mul(gradients, self.rho / (norm + 1e-12))
        return list(torch._foreach_mul(way, torch._foreach_abs(weights)) if self.adaptive else way)

    def _run_window(self) -> None:
        """The gradients of the window's batches once more, as a mean over their samples."""
        learn = self.learn
        sizes = [batch_size(yb or xb) for xb, yb in self._window]
        for (xb, yb), size in zip(self._window, sizes, strict=True):
            self.xb, self.yb = xb, yb
            learn.forward()
            learn.precision.backward(learn.loss, 1.0 if len(sizes) == 1 else size / sum(sizes))

    def state_dict(self) -> dict[str, Any]:
        """The batches of the open window: without it there is nothing to keep."""
        is_open = self._window and not self.learn.progress.window_opens
        return {"window": self._window} if is_open else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._window = list(state.get("window", []))
