"""The names that signatures share, and what is asked of plain values that users give."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from numbers import Integral, Real
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn
from torch.optim import Optimizer

Batch: TypeAlias = Any
"""What a loader yields: a tuple or list (inputs…, targets…), a dict, or a tensor."""

LossFunc: TypeAlias = Callable[..., Tensor]
"""Called with (pred, *targets); gives a scalar tensor that has a gradient."""

MetricFunc: TypeAlias = Callable[..., Tensor]
"""Called with (pred, *targets); gives a scalar tensor, the mean over the batch."""

BatchTransform: TypeAlias = Callable[
    [tuple[Any, ...], tuple[str | None, ...], bool], tuple[Any, ...]
]
"""Called with the elements of a batch, their kinds ("image", "mask" …) and whether it trains."""

Splitter: TypeAlias = Callable[[nn.Module], Sequence[Any]]
"""Splits a model into layer groups: lists of parameters (or modules), the body first."""

OptFunc: TypeAlias = Callable[..., Optimizer]
"""Builds a `torch.optim` optimizer: a class of `torch.optim`, a `partial` of one, a function."""


@runtime_checkable
class EpochLoader(Protocol):
    """A loader whose epochs are pure functions: it can give any epoch, from any batch on.

    The fit loop asks such a loader for epoch `epoch` from batch `start`; every other iterable is
    iterated, with torch's generator seeded from the learner's seed and the epoch.
    """

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch`, without the first `start`; nothing is remembered."""
        ...

    def __len__(self) -> int: ...


def listify(value: Any) -> list[Any]:
    """A list of `value`: nothing gives none, a list or tuple its elements, anything else one.

    >>> listify(None), listify(3), listify((1, 2))
    ([], [3], [1, 2])
    """
    if value is None:
        return []
    if isinstance(value, str | type) or not isinstance(value, Iterable):
        return [value]
    return list(value) if isinstance(value, list | tuple | set) else [value]


def check_number(name: str, value: object, *, whole: bool = False) -> None:
    """Raise a TypeError unless `value` is a number; with `whole`, unless it is an integer.

    >>> check_number("decay", "0.99")
    Traceback (most recent call last):
    TypeError: `decay` must be a number, got '0.99'
    """
    if isinstance(value, bool) or not isinstance(value, Integral if whole else Real):
        kind = "a whole number" if whole else "a number"
        raise TypeError(f"`{name}` must be {kind}, got {value!r}")


def is_number(text: str) -> bool:
    """Whether a text is one number, as Python writes them.

    >>> is_number("-1e3"), is_number("12 cats")
    (True, False)
    """
    try:
        float(text)
    except ValueError:
        return False
    return True


def counted(n: int, word: str) -> str:
    """So many things, for a message.

    >>> counted(1, "epoch"), counted(3, "epoch")
    ('1 epoch', '3 epochs')
    """
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
