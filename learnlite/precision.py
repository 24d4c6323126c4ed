"""How numbers are computed: the strategy that the loop asks for autocast, backward and step.

A strategy replaces *how* a thing is done and no callback sees the difference: the loss is never
scaled, the gradients at `before_step` are whole.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

_PLAIN: AbstractContextManager[Any] = nullcontext()


class Precision:
    """Full precision: everything as the model's own dtypes say."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Around the model and around the loss."""
        return _PLAIN

    def backward(self, loss: Tensor, weight: float = 1.0) -> None:
        """Add the gradients of `weight * loss`."""
        (loss if weight == 1.0 else loss * weight).backward()

    def unscale(self, opt: Optimizer, factor: float = 1.0) -> None:
        """Make the gradients what `before_step` is promised: unscaled, and times `factor`."""
        if factor != 1.0:
            for group in opt.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        parameter.grad.mul_(factor)

    def step(self, opt: Optimizer) -> bool:
        """Step the optimizer; tells whether the weights changed."""
        opt.step()
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"
