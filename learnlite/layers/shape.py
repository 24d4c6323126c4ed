"""Small layers that move, merge and squash values and have no parameters."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

Identity = nn.Identity


def noop(x: Any = None, *args: Any, **kwargs: Any) -> Any:
    """`x` as it is: a shortcut that needs no convolution.

    >>> noop(3)
    3
    """
    return x


class Module(nn.Module):
    """An `nn.Module` whose subclasses need not call `super().__init__()`, as fastai's.

    >>> class Scale(Module):
    ...     def __init__(self): self.factor = nn.Parameter(torch.ones(1))
    ...     def forward(self, x): return x * self.factor
    >>> Scale()(torch.ones(1)).item()
    1.0
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> "Module":
        module = super().__new__(cls)
        nn.Module.__init__(module)
        return module

    def __init__(self) -> None: ...


class Lambda(nn.Module):
    """A layer that calls a function.

    >>> Lambda(torch.exp)(torch.zeros(1)).item()
    1.0
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        super().__init__()
        if not callable(func):
            raise TypeError(f"`Lambda` needs a function to call, got {func!r}")
        self.func = func

    def forward(self, x: Any) -> Any:
        return self.func(x)

    def extra_repr(self) -> str:
        return getattr(self.func, "__name__", None) or repr(self.func)


class PartialLambda(Lambda):
    """A layer that calls a function with these arguments each time.

    >>> PartialLambda(torch.clamp, max=1)(torch.tensor(3.0)).item()
    1.0
    """

    def __init__(self, func: Callable[..., Any], **kwargs: Any) -> None:
        super().__init__(partial(func, **kwargs))
        self.repr = ", ".join([func.__name__, *(f"{k}={v!r}" for k, v in kwargs.items())])

    def extra_repr(self) -> str:
        return self.repr


class Flatten(nn.Module):
    """All axes but that of the batch in one; with `full` the batch too.

    >>> Flatten()(torch.zeros(2, 3, 4)).shape, Flatten(full=True)(torch.zeros(2, 1)).shape
    (torch.Size([2, 12]), torch.Size([2]))
    """

    def __init__(self, full: bool = False) -> None:
        super().__init__()
        self.full = full

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten() if self.full else x.flatten(1)

    def extra_repr(self) -> str:
        return "full=True" if self.full else ""


class View(nn.Module):
    """The values in another shape, the batch's axis included.

    >>> View(-1, 6)(torch.zeros(2, 3)).shape
    torch.Size([1, 6])
    """

    def __init__(self, *size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(self.size)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.size))


class ResizeBatch(View):
    """Each item in another shape; the batch keeps its size.

    >>> ResizeBatch(2, 3)(torch.zeros(4, 6)).shape
    torch.Size([4, 2, 3])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.size)


def sigmoid_range(x: Tensor, low: float, high: float) -> Tensor:
    """A sigmoid that goes from `low` to `high`.

    >>> sigmoid_range(torch.tensor(0.0), 0, 5.5).item()
    2.75
    """
    return torch.sigmoid(x) * (high - low) + low


class SigmoidRange(nn.Module):
    """`sigmoid_range` as a layer: keeps a model's answers in the range that targets can have.

    >>> SigmoidRange(-1, 1)(torch.tensor([-99.0, 0.0, 99.0]))
    tensor([-1.,  0.,  1.])
    """

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return sigmoid_range(x, self.low, self.high)

    def extra_repr(self) -> str:
        return f"low={self.low}, high={self.high}"


class Row(nn.Sequential):
    """What is built as one thing but is layers in a row; a slice of it is a plain `nn.Sequential`.

    >>> class Pair(Row):
    ...     def __init__(self, n: int) -> None: super().__init__(nn.Linear(n, n), nn.ReLU())
    >>> Pair(2)[1:]
    Sequential(
      (1): ReLU()
    )
    """

    def __getitem__(self, idx: Any) -> Any:
        if isinstance(idx, slice):
            return nn.Sequential(OrderedDict(list(self._modules.items())[idx]))  # type: ignore[arg-type]  # no None in a row
        return super().__getitem__(idx)


def sequential(*args: Any) -> nn.Sequential:
    """An `nn.Sequential` of layers and functions; or of a dict of them, by name.

    >>> sequential(nn.Linear(2, 2), torch.relu)
    Sequential(
      (0): Linear(in_features=2, out_features=2, bias=True)
      (1): Lambda(relu)
    )
    """
    if len(args) == 1 and isinstance(args[0], dict):
        layers = args[0].items()
        return nn.Sequential(OrderedDict((name, _layer(part)) for name, part in layers))
    return nn.Sequential(*map(_layer, args))


def _layer(part: Any) -> nn.Module:
    return part if isinstance(part, nn.Module) else Lambda(part)


class TakesInput(nn.Module):
    """A layer that a `SequentialEx` calls with its own input too: `forward(x, orig)`."""


class SequentialEx(nn.Module):
    """Layers in a row, of which some also get what the row began with, as `MergeLayer` does.

    >>> shortcut = SequentialEx(nn.Linear(2, 2), MergeLayer())
    >>> x = torch.ones(1, 2)
    >>> torch.equal(shortcut(x), shortcut[0](x) + x)
    True
    """

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        out = x
        for layer in self.layers:
            out = layer(out, x) if isinstance(layer, TakesInput) else layer(out)
        return out

    def __getitem__(self, i: Any) -> Any:
        return self.layers[i]

    def __len__(self) -> int:
        return len(self.layers)

    def append(self, layer: nn.Module) -> None:
        self.layers.append(layer)

    def extend(self, layers: list[nn.Module]) -> None:
        self.layers.extend(layers)

    def insert(self, i: int, layer: nn.Module) -> None:
        self.layers.insert(i, layer)


class MergeLayer(TakesInput):
    """Adds the input of the `SequentialEx` it stands in; with `dense` puts it beside, as channels.

    >>> SequentialEx(Lambda(torch.exp), MergeLayer(dense=True))(torch.zeros(1, 1))
    tensor([[1., 0.]])
    """

    def __init__(self, dense: bool = False) -> None:
        super().__init__()
        self.dense = dense

    def forward(self, x: Tensor, orig: Tensor) -> Tensor:
        return torch.cat([x, orig], dim=1) if self.dense else x + orig

    def extra_repr(self) -> str:
        return "dense=True" if self.dense else ""


class ProdLayer(TakesInput):
    """Multiplies by the input of the `SequentialEx` it stands in.

    >>> SequentialEx(Lambda(torch.exp), ProdLayer())(torch.zeros(1, 1))
    tensor([[0.]])
    """

    def forward(self, x: Tensor, orig: Tensor) -> Tensor:
        return x * orig
