"""How numbers are computed: the strategy that the loop asks for autocast, backward and step.

A strategy replaces *how* a thing is done and no callback sees the difference: the loss is never
scaled, the gradients at `before_step` are whole and unscaled.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

_PLAIN: AbstractContextManager[Any] = nullcontext()

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


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

    def step(self, opt: Optimizer) -> bool | Tensor:
        """Step the optimizer; tells whether the weights changed, on the device if only it knows."""
        opt.step()
        return True

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class Mixed(Precision):
    """Weights in float32; what is safe in `dtype` is computed in it, the rest in float32."""

    def __init__(self, device_type: str, dtype: torch.dtype = torch.bfloat16) -> None:
        self.device_type = device_type
        self.dtype = dtype
        self._autocast = torch.autocast(device_type, dtype)  # one for all batches: 1 us less each

    def autocast(self) -> AbstractContextManager[Any]:
        return self._autocast

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.device_type!r}, {self.dtype})"


class Scaled(Mixed):
    """`Mixed` in float16, whose gradients would vanish: the loss is scaled up on their way.

    A step whose gradients overflowed is left out, and the scale is halved. Whether it was is known
    on the device alone, where the steps left out are counted.
    """

    def __init__(self, device_type: str) -> None:
        super().__init__(device_type, torch.float16)
        self.scaler = torch.amp.GradScaler(device_type)
        self._skipped: Tensor | None = None
        self._unscaled = False

    def backward(self, loss: Tensor, weight: float = 1.0) -> None:
        super().backward(self.scaler.scale(loss), weight)

    def unscale(self, opt: Optimizer, factor: float = 1.0) -> None:
        if self._unscaled:
            self.scaler.update()  # the step before was cancelled
        self._unscaled = True
        self.scaler.unscale_(opt)
        super().unscale(opt, factor)

    def step(self, opt: Optimizer) -> bool | Tensor:
        self.scaler.step(opt)
        found = self.scaler._found_inf_per_device(opt)  # pyright: ignore[reportPrivateUsage]
        overflowed = sum(found.values(), torch.zeros((), device=self.device_type))
        self.scaler.update()
        self._unscaled = False
        self._skipped = overflowed if self._skipped is None else self._skipped + overflowed
        return overflowed == 0

    @property
    def skipped(self) -> int:
        """How many steps were left out, as their gradients overflowed. Reads the device."""
        return 0 if self._skipped is None else int(self._skipped)

    def state_dict(self) -> dict[str, Any]:
        return {"scaler": self.scaler.state_dict(), "skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scaler.load_state_dict(state["scaler"])
        self._skipped = torch.tensor(float(state["skipped"]), device=self.device_type)


def mixed(device: torch.device, dtype: torch.dtype) -> Mixed:
    """The strategy for `dtype` on `device`, or an error that names what there is instead.

    >>> mixed(torch.device("cpu"), torch.bfloat16)
    Mixed('cpu', torch.bfloat16)
    """
    kind = device.type
    if dtype not in DTYPES.values():
        raise ValueError(
            f"mixed precision computes in torch.bfloat16 or torch.float16, got {dtype}; for full "
            "precision use `learn.to_fp32()`"
        )
    if not torch.amp.is_autocast_available(kind):
        raise ValueError(
            f"torch has no mixed precision for the device `{device}`; use `learn.to_fp32()`"
        )
    if dtype is torch.bfloat16:
        if kind == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ValueError(
                f"the GPU `{torch.cuda.get_device_name(device)}` does not compute in bfloat16; "
                "use `learn.to_fp16()` or `learn.to_fp32()`"
            )
        return Mixed(kind)
    if kind == "cpu":
        raise ValueError(
            "float16 is for GPUs, and the data goes to the CPU; use `learn.to_bf16()` or "
            "`learn.to_fp32()`, or move to a GPU by `dls.to('cuda')`"
        )
    return Scaled(kind)
