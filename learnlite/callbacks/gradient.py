"""Gradients: gathered over several batches, and held within bounds."""

import math
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from learnlite.callback import Callback
from learnlite.events import Order
from learnlite.types import check_number

_lists: Any = torch  # its operations on lists of tensors, `_foreach_…`, are typed as private


class GradientAccumulation(Callback):
    """Steps once `n_acc` samples have been seen, instead of after every batch.

    The gradient of a step is the mean over the samples of its window, also when batches differ in
    size and in the short last window of an epoch: with `n_acc=64`, four batches of 16 train as one
    of 64 (but for layers that look at the whole batch, such as BatchNorm).

    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner, on
    >>> from learnlite.data import two_moons
    >>> learn = Learner(DataLoaders.from_tensors(*two_moons(100), bs=16), nn.Linear(2, 2))
    >>> steps = []
    >>> with learn.no_logging():  # 80 samples in 5 batches
    ...     learn.fit(1, cbs=[GradientAccumulation(32), on(after_step=lambda _: steps.append(1))])
    >>> len(steps)
    3
    """

    order = Order.SETUP
    controls = ("n_acc",)

    def __init__(self, n_acc: int = 32) -> None:
        check_number("n_acc", n_acc, whole=True)
        if n_acc < 1:
            raise ValueError(
                f"`n_acc` counts the samples of a step and must be at least 1, got {n_acc}"
            )
        self.n_acc = n_acc

    @contextmanager
    def around_fit(self) -> Generator[None]:
        progress = self.learn.progress
        try:
            progress.n_acc = self.n_acc
            yield
        finally:
            progress.n_acc = None


class GradientClip(Callback):
    """Scales the gradients down, before the step, so that their norm is at most `max_norm`.

    The norm is that of all of them together, of order `norm_type`; with accumulation, of the whole
    window's; `max_norm` is 1 unless given. With `value` each element is cut to between `-value` and
    `value` instead; for both, give two of these callbacks. Reading all gradients once more is work
    for the device, on a CPU 50 µs for a tiny net.

    >>> from torch import nn
    >>> from learnlite import DataLoaders, Learner
    >>> from learnlite.data import two_moons
    >>> learn = Learner(DataLoaders.from_tensors(*two_moons(100), bs=16), nn.Linear(2, 2))
    >>> clip = GradientClip(1e-4)
    >>> with learn.no_logging():
    ...     learn.fit(1, cbs=clip)
    >>> clip.norm > 1e-4
    True
    >>> torch.nn.utils.get_total_norm([p.grad for p in learn.model.parameters()]) < 1.0001e-4
    tensor(True)
    """

    order = Order.OPTIM
    run_valid = False

    def __init__(
        self,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        *,
        value: float | None = None,
    ) -> None:
        if max_norm is not None and value is not None:
            raise ValueError("give `max_norm` or `value`, not both: use two `GradientClip`s")
        for name, given in (("max_norm", max_norm), ("value", value)):
            if given is None:
                continue
            check_number(name, given)
            if not 0 < given < math.inf:
                raise ValueError(f"`{name}` must be above 0 and finite, got {given}")
        check_number("norm_type", norm_type)
        if not norm_type > 0:
            raise ValueError(f"`norm_type` is the order of a norm and above 0, got {norm_type}")
        self.max_norm = 1.0 if max_norm is None and value is None else max_norm
        self.norm_type = norm_type
        self.value = value
        self._norm = torch.tensor(math.nan)

    @property
    def norm(self) -> float | None:
        """The norm of the last step's gradients before they were clipped; None with `value`."""
        return None if self.max_norm is None else float(self._norm)  # host sync: the user asks

    def before_fit(self) -> None:
        for name, parameter in self.learn.model.named_parameters():
            if self.value is not None and parameter.is_complex():
                raise ValueError(
                    f"`{self!r}` cuts each element to between two numbers, but `{name}` is "
                    f"{parameter.dtype}, and complex numbers have no order; use `max_norm`"
                )

    def before_step(self) -> None:
        groups = self.learn.opt.param_groups
        params = list({id(p): p for group in groups for p in group["params"]}.values())
        if self.max_norm is not None:
            self._norm = _clip_norm(params, self.max_norm, self.norm_type)
        elif self.value is not None:
            _clip_values(params, self.value)


def _clip_values(params: list[Tensor], value: float) -> None:
    """What torch's `clip_grad_value_` does, and the same for gradients that are sparse."""
    dense: list[Tensor] = []
    for p in params:
        gradient: Any = p.grad
        if gradient is None or gradient.layout is not torch.sparse_coo:
            dense.append(p)
            continue
        p.grad = gradient = gradient.coalesce()  # which adds up what belongs to one element
        gradient.values().clamp_(-value, value)
    clip_grad_value_(dense, value)


def _clip_norm(params: list[Tensor], max_norm: float, norm_type: float) -> Tensor:
    """What torch's `clip_grad_norm_` does, bit for bit; in half the time for a small model.

    It saves torch's sorting of the gradients, which are of one kind but in rare cases.

    >>> weight = torch.zeros(2, requires_grad=True)
    >>> weight.grad = torch.tensor([3.0, 4.0])
    >>> _clip_norm([weight], 1.0, 2.0), weight.grad
    (tensor(5.), tensor([0.6000, 0.8000]))
    """
    gradients = [p.grad for p in params if p.grad is not None]
    kinds = {(g.device, g.dtype, g.layout, type(g), g.requires_grad) for g in gradients}
    if len(kinds) != 1 or next(iter(kinds))[2:] != (torch.strided, Tensor, False):
        return clip_grad_norm_(params, max_norm, norm_type)
    norms = torch.stack(_lists._foreach_norm(gradients, norm_type))
    norm: Tensor = torch.linalg.vector_norm(norms, norm_type)
    factor = (norm + 1e-6).reciprocal_().mul_(max_norm).clamp_(max=1.0)
    _lists._foreach_mul_(gradients, factor)
    return norm
