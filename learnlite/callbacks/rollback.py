"""Going back to the last good weights when a loss becomes NaN, and on at a lower rate."""

import math
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import get_total_norm

from learnlite import checkpoint
from learnlite.callback import Callback
from learnlite.events import CancelFitException, Order
from learnlite.types import check_number, counted

_lists: Any = torch  # its operations on lists of tensors, `_foreach_…`, are typed as private


class RollBack(Callback):
    """Puts back the last good weights when the loss becomes NaN or infinite, and lowers the rate.

    It looks every `every` batches, and where a training pass ends: if losses, weights and the
    optimizer's state are finite it keeps a copy of these, on the CPU or with `on_device` beside the
    model; else the last copy is put back, the rates are from there on `factor` times what they
    would be, and training goes on with the next batch. The batches since that copy have changed
    nothing then. After `times` such turns it gives up and ends the fit, with the last good weights.
    Each copy is one read of the device; between them there is the norm of the gradients to measure.

    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner
    >>> from learnlite.data import two_moons
    >>> from learnlite.optim import SGD
    >>> dls = DataLoaders.from_tensors(*two_moons(200), bs=32)
    >>> learn = Learner(dls, nn.Linear(2, 2), opt_func=SGD, lr=1e39, cbs=RollBack(1e-20, every=1))
    >>> with learn.no_logging(), warnings.catch_warnings(action="ignore"):
    ...     learn.fit(2)
    >>> learn.model.weight.isfinite().all().item()
    True
    """

    order = Order.DECIDE  # after the schedules and the recorder, before anybody saves
    run_valid = False
    persist = ("scale", "turns", "good", "pending")

    def __init__(
        self, factor: float = 0.5, every: int = 200, times: int = 3, on_device: bool = False
    ) -> None:
        check_number("factor", factor)
        if not 0 < factor <= 1:
            raise ValueError(
                f"`factor` multiplies the rate and must be above 0 and at most 1, got {factor}"
            )
        for name, value in (("every", every), ("times", times)):
            check_number(name, value, whole=True)
            if value < 1:
                raise ValueError(f"`{name}` must be at least 1, got {value}")
        self.factor = factor
        self.every = every
        self.times = times
        self.on_device = on_device

    @contextmanager
    def around_fit(self) -> Generator[None]:
        self.scale, self.turns = 1.0, 0
        self.pending: list[list[Any]] = []  # of each batch since the copy: where, rate, loss, norm
        self._own: list[Any] | None = None  # the rates of the groups while they are lowered
        self._norm: Tensor | None = None
        try:
            yield
        finally:
            self._raise()
            del self.pending, self._norm
            vars(self).pop("good", None)

    def before_fit(self) -> None:
        weights = checkpoint.weights_of(self.learn.model)
        floats = {name: t for name, t in weights.items() if _is_float(t)}
        finite = _are_finite(list(floats.values())).tolist()  # host sync: once a fit
        # A buffer may hold infinite values for good, as a mask of attention does.
        self._watched = [name for name, ok in zip(floats, finite, strict=True) if ok]
        self._keep("the beginning")

    def before_batch(self) -> None:
        self._norm = None
        self._lower()

    def before_step(self) -> None:
        self._lower()  # also for a step after the last batch, which makes its window whole
        params = [p for group in self.learn.opt.param_groups for p in group["params"]]
        self._norm = get_total_norm([p.grad for p in params if p.grad is not None])

    def after_batch(self) -> None:
        learn = self.learn
        if learn.loss is not None:
            lr = float(learn.opt.param_groups[-1]["lr"])
            norm = learn.loss.new_tensor(math.nan) if self._norm is None else self._norm
            place = [learn.epoch, learn.iter, lr]
            self.pending.append([*place, learn.loss.detach().reshape(()), norm])
        self._raise()
        if len(self.pending) >= self.every and not learn.progress.gathered:
            self._look()

    def after_train(self) -> None:
        self._raise()
        if self.pending:
            self._look()

    # What a checkpoint keeps

    def state_dict(self) -> dict[str, Any]:
        """What is pending as a few columns: a tensor for each batch would be very many."""
        state = super().state_dict()
        if state.get("pending"):
            epochs, batches, lrs, losses, norms = map(list, zip(*self.pending, strict=True))
            tensors = torch.stack(losses), torch.stack(norms)
            state["pending"] = [epochs, batches, lrs, *tensors]
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        if state.get("pending"):
            columns = [c.unbind() if isinstance(c, Tensor) else c for c in state["pending"]]
            state = state | {"pending": [list(row) for row in zip(*columns, strict=True)]}
        super().load_state_dict(state)

    # The rates

    def _lower(self) -> None:
        if self.scale == 1 or self._own is not None:
            return
        groups = self.learn.opt.param_groups
        self._own = [
            lr.clone() if isinstance(lr := group["lr"], Tensor) else lr for group in groups
        ]
        for group, lr in zip(groups, self._own, strict=True):
            _set_rate(group, lr * self.scale)

    def _raise(self) -> None:
        own, self._own = self._own, None
        for group, lr in zip(self.learn.opt.param_groups, own or [], strict=False):
            _set_rate(group, lr)

    # Looking, keeping, putting back

    def _look(self) -> None:
        weights = checkpoint.weights_of(self.learn.model)
        states = self.learn.opt.state.values()
        tensors = [weights[name] for name in self._watched if name in weights]
        tensors += [t for state in states for t in state.values() if _is_float(t)]
        device = self.learn.dls.device
        found = torch.cat(
            [
                _are_finite(tensors).all().reshape(1).to(device),
                torch.stack([row[3] for row in self.pending]).isfinite().to(device),
            ]
        ).tolist()  # host sync: once in `every` batches
        if all(found):
            epoch, batch, _, _, norm = self.pending[-1]
            self._keep(f"batch {batch} of epoch {epoch}", norm)
        else:
            bad = found[1:].index(False) if not all(found[1:]) else None
            self._turn_back(bad)

    def _keep(self, place: str, norm: Tensor | None = None) -> None:
        learn = self.learn
        self.pending = []
        self.good: dict[str, Any] = self._copied(
            {
                "place": place,
                "norm": norm,
                "model": checkpoint.weights_of(learn.model),
                "opt": learn.opt.state_dict()["state"],
                "callbacks": [cb.state_dict() for cb in learn.callbacks if cb.of_weights],
            }
        )

    def _turn_back(self, bad: int | None) -> None:
        learn, good = self.learn, self.good
        message = f"{self._told(bad)}; the weights are again those of {good['place']}"
        with learn.whole_step:
            checkpoint.load_weights(learn.model, good["model"])
            groups = learn.opt.state_dict()["param_groups"]
            learn.opt.load_state_dict({"state": self._copied(good["opt"]), "param_groups": groups})
            followers = [cb for cb in learn.callbacks if cb.of_weights]
            for cb, state in zip(followers, good["callbacks"], strict=True):
                cb.load_state_dict(self._copied(state))
            for parameter in learn.model.parameters():
                parameter.grad = None
        recorder = getattr(learn, "recorder", None)
        if recorder is not None:
            recorder.undo(len(self.pending))
        self.pending = []
        if self.turns >= self.times:
            message += f", and after {counted(self.times, 'turn')} back training stops"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
            raise CancelFitException(message)
        self.turns += 1
        self.scale *= self.factor
        warnings.warn(
            f"{message}, and training goes on at {self.scale:.3g} of its rate ({self.turns} of "
            f"{self.times} times)",
            RuntimeWarning,
            stacklevel=2,
        )

    def _told(self, bad: int | None) -> str:
        """What became bad, where, at what rate, and with which gradients before it."""
        epoch, batch, lr, loss, _ = self.pending[-1 if bad is None else bad]
        at = f"at batch {batch} of epoch {epoch}, at a learning rate of {lr:.3g}"
        last = len(self.pending) - 1 if bad is None else bad - 1  # whose step made the weights
        norm = self.pending[last][4] if last >= 0 else self.good["norm"]
        shown = "" if norm is None else f", after a step of gradients of norm {float(norm):.3g}"
        if bad is None:
            return f"a weight or the optimizer's state became infinite or NaN {at}{shown}"
        return f"the loss became {float(loss)} {at}{shown}"

    def _copied(self, value: Any) -> Any:
        """A copy that shares nothing, in the memory that is asked for."""
        if isinstance(value, Tensor):
            device = value.device if self.on_device else torch.device("cpu")
            return value.detach().to(device, copy=True)
        if isinstance(value, dict):
            return {key: self._copied(part) for key, part in value.items()}
        if isinstance(value, list | tuple):
            parts = [self._copied(part) for part in value]
            return parts if isinstance(value, list) else tuple(parts)
        return value


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point() and value.numel() > 0


def _are_finite(tensors: list[Tensor]) -> Tensor:
    """Which of these hold finite values only."""
    if not tensors:
        return torch.ones(1, dtype=torch.bool)
    norms = _lists._foreach_norm([t.detach().float() for t in tensors], math.inf)
    return torch.stack([norm.to(norms[0].device) for norm in norms]).isfinite()


def _set_rate(group: dict[str, Any], lr: Any) -> None:
    if isinstance(group["lr"], Tensor):  # a captured or compiled step reads this very tensor
        with torch.no_grad():
            group["lr"].copy_(lr)
    else:
        group["lr"] = lr
