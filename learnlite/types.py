"""The names that signatures share: what a batch, a loss or a splitter is."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn
from torch.optim import Optimizer

Batch: TypeAlias = Any
"""What a loader yields: a tuple or list (inputs…, targets…), a dict, or a tensor."""

LossFunc: TypeAlias = Callable[..., Tensor]
"""Called with (pred, *targets); gives a scalar tensor that has a gradient."""

MetricFunc: TypeAlias = Callable[..., Tensor]
"""Called with (pred, *targets); gives a scalar tensor, the mean over the batch."""

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
