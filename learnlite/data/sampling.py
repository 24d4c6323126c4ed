"""Which items an epoch is made of, where classes are unequal.

An *order* is what a `Loader` asks for the indices of an epoch: `order(seed, n)`, with a seed that
is a function of (loader's seed, epoch). It draws from nothing else, so the epoch is the same again,
and can begin at any batch.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learnlite.data.labels import plain
from learnlite.data.strata import check_one_each
from learnlite.data.vocab import Vocab, counted, not_one
from learnlite.data.wording import named
from learnlite.seeds import mix

Order: TypeAlias = Callable[[int, int], Sequence[int] | Tensor]

__all__ = ["Order", "WeightedOrder", "class_weights", "sampling_order"]


class WeightedOrder:
    """An epoch with each item as often as its weight says, shuffled; as long as the data set.

    Of n items one of weight w comes n·w / (sum of weights) times: the whole times always, once more
    with the probability of the fraction. So equal weights give each item once, which independent
    draws do not.

    >>> order = WeightedOrder([1, 1, 2, 0])
    >>> sorted(order(7, 4).tolist())
    [0, 1, 2, 2]
    """

    def __init__(self, weights: Sequence[float] | NDArray[Any] | Tensor) -> None:
        self._weights = torch.as_tensor(_checked(weights))

    def __call__(self, seed: int, n: int) -> Tensor:
        check_one_each("weights", self._weights, n)
        generator = torch.Generator().manual_seed(mix(seed))
        # drawn in a new order each epoch, or neighbours would share their luck with the fraction
        order = torch.randperm(n, generator=generator)
        start = torch.rand((), generator=generator, dtype=torch.float64)
        reached = self._weights[order].cumsum(0)
        reached = (reached / reached[-1] * n + start).floor().long()
        times = torch.diff(reached, prepend=reached.new_zeros(1))
        return order.repeat_interleave(times)[torch.randperm(n, generator=generator)]

    def __len__(self) -> int:
        return len(self._weights)

    def __repr__(self) -> str:
        return f"WeightedOrder({len(self):,} weights)"


def class_weights(
    labels: Collection[Any] | NDArray[Any] | Tensor, vocab: Sequence[Any] | None = None
) -> Tensor:
    """A weight for each class, in the order of `vocab`, that makes all count the same in sum.

    It is n / (classes · items of the class), so the mean over the items is 1; 0 for a class without
    items. For the losses, and for sampling. `vocab` is by default the sorted labels.

    >>> class_weights(["cat", "cat", "cat", "dog"])
    tensor([0.6667, 2.0000])
    """
    try:
        counts = counted(labels)
    except TypeError:
        raise TypeError(not_one(next(iter(labels)))) from None
    counts.pop(None, None)  # those without a label
    if not counts:
        raise ValueError("there are no labels to weigh classes by")
    classes = Vocab.of(labels) if vocab is None else vocab
    if unknown := [label for label in counts if label not in classes]:
        raise ValueError(f"the labels {named(map(repr, unknown))} are not in `vocab`")
    mean = sum(counts.values()) / len(counts)
    return torch.tensor([mean / counts[label] if counts[label] else 0.0 for label in classes])


def sampling_order(
    labels: Sequence[Any] | NDArray[Any] | Tensor | None = None,
    *,
    weights: Mapping[Any, float] | Sequence[float] | NDArray[Any] | Tensor | None = None,
    balanced: bool = False,
) -> WeightedOrder | None:
    """The order for a loader by `weights`, one an item or one a class, or with classes `balanced`.

    `labels` are those of the items, one class each; without weights there is no order of its own.

    >>> order = sampling_order(["cat"] * 6 + ["dog"] * 2, balanced=True)
    >>> sum(i >= 6 for i in order(7, 8))  # as many dogs as cats
    tensor(4)
    """
    if balanced and weights is not None:
        raise ValueError("`balanced` and `weights` both say how often items come; leave one out")
    if not balanced and weights is None:
        return None
    if weights is not None and not isinstance(weights, Mapping):
        if labels is not None:
            check_one_each("weights", weights, len(labels))
        return WeightedOrder(weights)
    if labels is None:
        raise ValueError("the labels of the items are needed to weigh them by class")
    if weights is None:
        vocab = Vocab.of(labels)
        weights = dict(zip(vocab, class_weights(labels, vocab).tolist(), strict=True))
    if isinstance(labels, Tensor | np.ndarray):
        labels = labels.tolist()
    known = {plain(label): weight for label, weight in weights.items()}
    of_items = [known.get(plain(label)) for label in labels]
    if lacking := [label for label, weight in zip(labels, of_items, strict=True) if weight is None]:
        raise ValueError(
            f"{len(lacking):,} items have no weight, as `weights` does not name their classes "
            f"{named(map(repr, dict.fromkeys(map(plain, lacking))))}"
        )
    return WeightedOrder(np.array(of_items))


def _checked(weights: Any) -> NDArray[np.float64]:
    array = np.array(weights.cpu() if isinstance(weights, Tensor) else weights, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"`weights` has the shape {array.shape}; it needs one for each item")
    bad = ~np.isfinite(array) | (array < 0)
    if bad.any():
        i = int(np.argmax(bad))
        raise ValueError(f"`weights` must be at least 0 and finite, got {array[i]} for item {i}")
    if not array.any():
        raise ValueError("`weights` are all 0, so no item would ever come")
    return array
