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
from learnlite.data.wording import named, short
from learnlite.seeds import mix

Order: TypeAlias = Callable[[int, int], Sequence[int] | Tensor]

__all__ = ["Order", "WeightedOrder", "class_weights", "sampling_order"]


class WeightedOrder:
    """An epoch with each item as often as its weight says, shuffled; as long as the data set.

    Of n items one of weight w comes n·w / (sum of weights) times: the whole times always, once more
    with the probability of the fraction. The items of one weight (so, of one class) come as often
    as they should in sum, too, to within one. Independent draws would promise neither.

    >>> order = WeightedOrder([1, 1, 2, 0])
    >>> sorted(order(7, 4).tolist())
    [0, 1, 2, 2]
    """

    def __init__(self, weights: Sequence[float] | NDArray[Any] | Tensor) -> None:
        self._weights = torch.as_tensor(_checked(weights))
        values, self._groups = self._weights.unique(return_inverse=True)
        self._n_groups = len(values)

    def __call__(self, seed: int, n: int) -> Tensor:
        check_one_each("weights", self._weights, n)
        generator = torch.Generator().manual_seed(mix(seed))
        # Who has the luck of a fraction is drawn anew: items within their group, and the groups.
        order = torch.randperm(n, generator=generator)
        turns = torch.randperm(self._n_groups, generator=generator)
        order = order[turns[self._groups[order]].argsort(stable=True)]
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
    weight_of = _balanced(labels)
    classes = Vocab.of(labels) if vocab is None else vocab
    if unknown := [label for label in weight_of if label not in classes]:
        raise ValueError(f"the labels {named(map(repr, unknown))} are not in `vocab`")
    return torch.tensor([weight_of.get(label, 0.0) for label in classes])


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
    if weights is not None and not hasattr(weights, "__len__"):
        raise TypeError(
            "`weights` is a list of one for each item, or a dict of one for each class, got "
            f"{short(weights)}"
        )
    if weights is not None and not isinstance(weights, Mapping):
        if labels is not None:
            check_one_each("weights", weights, len(labels))
        return WeightedOrder(weights)
    if labels is None:
        raise ValueError("the labels of the items are needed to weigh them by class")
    if weights is None:
        weights = _balanced(labels)
    of_class = {plain(label): weight for label, weight in weights.items()}
    classes = labels.tolist() if isinstance(labels, Tensor | np.ndarray) else map(plain, labels)
    try:
        return WeightedOrder([of_class[label] for label in classes])
    except KeyError:
        lacking = [label for label in counted(labels) if label not in of_class]
        raise ValueError(
            f"`weights` has none for the classes {named(map(repr, lacking))} of the items; "
            "name every class there is, with 0 if its items are never to come"
        ) from None
    except TypeError:
        raise TypeError(not_one(next(iter(labels)))) from None


def _balanced(labels: Any) -> dict[Any, float]:
    try:
        counts = counted(labels)
    except TypeError:
        raise TypeError(not_one(next(iter(labels)))) from None
    counts.pop(None, None)  # those without a label
    if not counts:
        raise ValueError("there are no labels to weigh classes by")
    return {label: counts.total() / (len(counts) * n) for label, n in counts.items()}


def _checked(weights: Any) -> NDArray[np.float64]:
    if isinstance(weights, Tensor):
        weights = weights.detach().double().cpu().numpy()
    array = np.array(weights, dtype=np.float64)  # a copy: what happens to theirs is not noticed
    if array.ndim != 1 or not len(array):
        raise ValueError(f"`weights` has the shape {array.shape}; it needs one for each item")
    bad = ~np.isfinite(array) | (array < 0)
    if bad.any():
        i = int(np.argmax(bad))
        raise ValueError(f"`weights` must be at least 0 and finite, got {array[i]} for item {i}")
    if not array.any():
        raise ValueError("`weights` are all 0, so no item would ever come")
    return array
