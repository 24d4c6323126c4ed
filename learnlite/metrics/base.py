"""What a metric is, and sums that stay on the device."""

import copy
import re
from abc import ABC, abstractmethod
from functools import partial
from typing import Any

import torch
from torch import Tensor


def snake_case(name: str) -> str:
    """A class name as a column of the table shows it.

    >>> snake_case("F1Score"), snake_case("JaccardCoeff"), snake_case("BinaryAUROC")
    ('f1_score', 'jaccard_coeff', 'binary_auroc')
    """
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def function_name(func: Any) -> str:
    """What to call `func` in a table: its own name, that of a `partial`'s function, or its class's.

    >>> function_name(partial(torch.sum, dim=1)), function_name(torch.nn.L1Loss())
    ('sum', 'l1_loss')
    """
    while isinstance(func, partial):
        func = func.func
    name = getattr(func, "__name__", None)
    return name if isinstance(name, str) else snake_case(type(func).__name__)


class Metric(ABC):
    """A number about a whole pass: `reset` before it, `update` with each batch, `compute` after it.

    What is kept stays on the device, and nothing waits for it. Its name is that of the class in
    snake case, unless `name` is set. Called with (pred, targ) it measures just these.

    >>> class Largest(Metric):
    ...     def reset(self):
    ...         self.largest = torch.tensor(float("-inf"))
    ...     def update(self, pred, targ):
    ...         self.largest = torch.maximum(self.largest, pred.max())
    ...     def compute(self):
    ...         return self.largest
    >>> largest = Largest()
    >>> largest(torch.tensor([1.0, 3.0]), None), largest.name
    (tensor(3.), 'largest')
    """

    name: str

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = snake_case(cls.__name__)

    def __init__(self, name: str | None = None) -> None:
        if name is not None:
            self.name = name
        self.reset()

    @abstractmethod
    def reset(self) -> None:
        """Forget everything."""

    @abstractmethod
    def update(self, pred: Any, targ: Any, *more: Any) -> None:
        """Take in a batch; `more` are further targets, where there are several."""

    @abstractmethod
    def compute(self) -> Tensor:
        """The number so far, a tensor without axes; NaN if there was no batch."""

    def state_dict(self) -> dict[str, Any]:
        """What was taken in so far, as plain values and tensors: the attributes that are such."""
        return {
            name: value.state_dict() if isinstance(value, DeviceSum) else value
            for name, value in vars(self).items()
            if _is_plain(value)
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        for name, value in state.items():
            kept = vars(self).get(name)
            if isinstance(kept, DeviceSum):
                kept.load_state_dict(value)
            else:
                setattr(self, name, value)

    def __call__(self, pred: Any, targ: Any, *more: Any) -> Tensor:
        """The number for this batch alone."""
        alone = copy.copy(self)
        alone.reset()
        alone.update(pred, targ, *more)
        return alone.compute()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


class DeviceSum:
    """A sum of tensors that loses nothing over a long pass, on the device of what it is given.

    float32 stops counting by ones at 16,777,216. So integers are summed as int64, floats as
    float64, or on MPS, which has no float64, in float32 with what was rounded off kept beside it.

    >>> total = DeviceSum()
    >>> total.add(torch.tensor(2**24, dtype=torch.float32))
    >>> total.add(torch.tensor(1.0))
    >>> int(total.value())
    16777217
    """

    def __init__(self) -> None:
        self._sum: Tensor | None = None
        self._rounded: Tensor | None = None

    def add(self, value: Tensor) -> None:
        """Take in `value`; all values have one shape."""
        value = value.detach()
        if not value.is_floating_point():
            value = value.long()
        elif value.device.type != "mps":
            value = value.double()
        else:
            value = value.float()
            self._rounded = torch.zeros_like(value) if self._rounded is None else self._rounded
            self._sum = torch.zeros_like(value) if self._sum is None else self._sum
            self._sum, self._rounded = compensated(self._sum, self._rounded, value)
            return
        self._sum = value if self._sum is None else self._sum + value

    def state_dict(self) -> dict[str, Any]:
        """The sum so far, and what was rounded off it."""
        return {"sum": self._sum, "rounded": self._rounded}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        self._sum, self._rounded = state["sum"], state["rounded"]

    def value(self) -> Tensor:
        """The sum so far; 0 without any."""
        return torch.zeros((), dtype=torch.float64) if self._sum is None else self._sum


def _is_plain(value: Any) -> bool:
    """Whether a file can hold it without naming code."""
    if isinstance(value, list | tuple):
        return all(_is_plain(part) for part in value)
    if isinstance(value, dict):
        return all(_is_plain(part) for part in value.values())
    return value is None or isinstance(value, Tensor | DeviceSum | int | float | str)


def compensated(total: Tensor, rounded: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Kahan's summation: the new total, and what rounding took from it."""
    value = value - rounded
    grown = total + value
    return grown, (grown - total) - value


def share(part: Tensor, whole: Tensor | int) -> Tensor:
    """`part / whole`; NaN for a whole of 0, which is how a metric says that nothing was there."""
    if isinstance(whole, int):
        return part / (whole or float("nan"))
    return part / torch.where(whole == 0, float("nan"), whole)


def samples(*tensors: Any) -> int:
    """The size of the first axis of the first of `tensors` that has one."""
    for tensor in tensors:
        if isinstance(tensor, Tensor) and tensor.ndim:
            return tensor.shape[0]
        if isinstance(tensor, dict):
            return samples(*tensor.values())
        if isinstance(tensor, list | tuple):
            return samples(*tensor)
    return 1
