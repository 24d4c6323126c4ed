"""LAMB: Adam whose step on each tensor is as long as the tensor is large, for large batches."""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from learnlite.optim.factories import Params, as_groups

_LARGEST_TRUST = 10.0
_lists: Any = torch  # its operations on lists of tensors, `_foreach_…`, are typed as private


class Lamb(Optimizer):
    """Adam whose step on each tensor is scaled by `trust` = |weights| / |step|, at most 10.

    The numbers are fastai's: weight decay is decoupled and comes first, and where weights or step
    are all zero the trust is 1. All tensors of a kind are stepped together; nothing waits for the
    device.

    >>> opt = Lamb(torch.nn.Linear(2, 1).parameters(), lr=0.01)
    >>> opt.param_groups[0]["betas"]
    (0.9, 0.99)
    """

    def __init__(
        self,
        params: Params,
        lr: float | Tensor = 1e-3,
        mom: float = 0.9,
        sqr_mom: float = 0.99,
        eps: float = 1e-5,
        wd: float = 0.0,
    ) -> None:
        for name, value, below in (
            ("lr", lr, None),
            ("mom", mom, 1),
            ("sqr_mom", sqr_mom, 1),
            ("wd", wd, None),
        ):
            if not value >= 0 or (below is not None and value >= below):
                limit = "" if below is None else f" and below {below}"
                raise ValueError(f"`{name}` must be at least 0{limit}, got {value}")
        defaults = {"lr": lr, "betas": (mom, sqr_mom), "eps": eps, "weight_decay": wd}
        super().__init__(as_groups(params), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Move the weights once along their gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for step, params in self._alike(group["params"]).items():
                self._step_together(params, step[-1], group)
        return loss

    def _alike(self, params: list[Tensor]) -> dict[tuple[Any, ...], list[Tensor]]:
        """Count a step for each parameter with a gradient, and put those of one kind together."""
        alike: dict[tuple[Any, ...], list[Tensor]] = defaultdict(list)
        for p in params:
            if p.grad is None:
                continue
            if p.grad.is_sparse:
                raise RuntimeError(
                    "`Lamb` does not take sparse gradients; build the embedding with `sparse=False`"
                )
            state = self.state[p]
            if not state:
                state["step"] = 0
                state["exp_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                state["exp_avg_sq"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            state["step"] += 1
            alike[p.device, p.dtype, state["step"]].append(p)
        return alike

    def _step_together(self, params: list[Tensor], step: int, group: dict[str, Any]) -> None:
        beta1, beta2 = group["betas"]
        lr, eps, wd = group["lr"], group["eps"], group["weight_decay"]
        gradients = [p.grad for p in params if p.grad is not None]
        averages = [self.state[p]["exp_avg"] for p in params]
        squares = [self.state[p]["exp_avg_sq"] for p in params]
        if not isinstance(wd, float | int) or wd != 0:
            _lists._foreach_mul_(params, 1 - lr * wd)
        _lists._foreach_lerp_(averages, gradients, 1 - beta1)
        _lists._foreach_mul_(squares, beta2)
        _lists._foreach_addcmul_(squares, gradients, gradients, 1 - beta2)

        scales = _lists._foreach_div(squares, 1 - beta2**step)
        _lists._foreach_sqrt_(scales)
        _lists._foreach_add_(scales, eps)
        steps = _lists._foreach_div(averages, 1 - beta1**step)
        _lists._foreach_div_(steps, scales)

        lengths = torch.stack(_lists._foreach_norm(params))
        step_lengths = torch.stack(_lists._foreach_norm(steps))
        trusts = (lengths / step_lengths).clamp_(max=_LARGEST_TRUST)
        trusts = torch.where((lengths == 0) | (step_lengths == 0), torch.ones_like(trusts), trusts)
        _lists._foreach_mul_(steps, list((trusts * -lr).unbind()))
        _lists._foreach_add_(params, steps)
