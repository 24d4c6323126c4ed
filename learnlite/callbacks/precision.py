"""Mixed precision, for the time of a fit or of a validation."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from learnlite.callback import Callback
from learnlite.data.batch import map_batch
from learnlite.events import Order
from learnlite.precision import DTYPES, Precision, Scaled, mixed

_HALF = tuple(DTYPES.values())


class MixedPrecision(Callback):
    """Computes what is safe in bfloat16 or float16, which is faster on most GPUs; weights stay.

    The loss, and so the gradients that other callbacks see, are never scaled; `pred` comes out in
    float32. In float16 (on GPUs only) a step whose gradients overflow is left out: `skipped` counts
    them, and no `after_step` comes. `learn.to_bf16()` and `learn.to_fp16()` add this for good.
    Casting costs something too: small nets, and CPUs without bfloat16 units, get slower by it.

    >>> MixedPrecision("bf16")
    MixedPrecision(dtype=torch.bfloat16)
    """

    order = Order.SETUP

    _strategy: Precision | None = None

    def __init__(self, dtype: torch.dtype | str = torch.bfloat16) -> None:
        if dtype not in DTYPES and dtype not in _HALF:
            raise ValueError(
                '`dtype` is torch.bfloat16 ("bf16") or torch.float16 ("fp16"), '
                f"got {dtype!r}; for full precision use `learn.to_fp32()`"
            )
        self.dtype = DTYPES[dtype] if isinstance(dtype, str) else dtype
        scales = self.dtype is torch.float16
        self.controls = ("precision", *(("loss scaling",) if scales else ()))

    @property
    def skipped(self) -> int:
        """Steps left out in float16, as their gradients overflowed. Reads the device."""
        return self._strategy.skipped if isinstance(self._strategy, Scaled) else 0

    @contextmanager
    def around_fit(self) -> Generator[None]:
        learn = self.learn
        half = [name for name, p in learn.model.named_parameters() if p.dtype in _HALF]
        if half and self.dtype is torch.float16:
            raise ValueError(
                f"mixed precision keeps the weights in float32, but `{half[0]}` is "
                f"{learn.model.get_parameter(half[0]).dtype}; call `model.float()`"
            )
        before = learn.precision
        try:
            learn.precision = self._ready()
            yield
        finally:
            learn.precision = before

    @contextmanager
    def around_validate(self) -> Generator[None]:
        learn = self.learn
        before = learn.precision
        try:
            learn.precision = self._ready()
            yield
        finally:
            learn.precision = before

    def after_pred(self) -> None:
        self.pred = map_batch(self.pred, _wide)

    def _ready(self) -> Precision:
        """The strategy, kept from fit to fit: the scale that was found is a good one to go on."""
        made = mixed(self.learn.dls.device, self.dtype)
        if repr(made) != repr(self._strategy):
            self._strategy = made
        return self._strategy or made

    def state_dict(self) -> dict[str, Any]:
        return {} if self._strategy is None else self._strategy.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state and self._strategy is not None:
            self._strategy.load_state_dict(state)


def _wide(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in _HALF else tensor
