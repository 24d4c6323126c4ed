"""A dataset of tensors in memory, read a batch at a time by one indexing."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor


class TensorItems:
    """A dataset whose item `i` is row `i` of each tensor; on whatever device they lie.

    >>> items = TensorItems(torch.arange(10), torch.arange(10) > 4)
    >>> len(items), items[6]
    (10, (tensor(6), tensor(True)))
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError("`TensorItems` needs at least one tensor, got none")
        self.tensors = tuple(as_tensor(tensor) for tensor in tensors)
        for tensor in self.tensors:
            if not tensor.ndim:
                raise ValueError("each tensor must have rows, got a scalar (no dimension)")
        lengths = [len(tensor) for tensor in self.tensors]
        if len(set(lengths)) > 1:
            raise ValueError(f"the tensors must have the same number of rows, got {lengths}")

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)

    def __getitems__(self, indices: Sequence[int]) -> tuple[Tensor, ...]:
        return self.take(torch.as_tensor(indices, device=self.tensors[0].device))

    def take(self, indices: Tensor) -> tuple[Tensor, ...]:
        """The batch of these rows; half the cost of `tensor[indices]`, a copy all the same."""
        return tuple(tensor.index_select(0, indices) for tensor in self.tensors)

    def rows(self, start: int, stop: int) -> tuple[Tensor, ...]:
        """The batch of these rows: a copy, since a batch may be changed in place."""
        return tuple(tensor[start:stop].clone() for tensor in self.tensors)

    def test_set(self, items: Any) -> "TensorItems":
        """The dataset of new items: a tensor, or a tuple of them."""
        return TensorItems(*items) if isinstance(items, tuple | list) else TensorItems(items)

    def __repr__(self) -> str:
        shapes = ", ".join("x".join(str(size) for size in tensor.shape) for tensor in self.tensors)
        return f"TensorItems({shapes})"


def as_tensor(values: Any) -> Tensor:
    """A tensor of an array or of numbers; numpy's float64 becomes torch's default, float32.

    >>> as_tensor(np.zeros(2)).dtype
    torch.float32
    """
    if isinstance(values, Tensor):
        return values.detach()
    try:
        tensor = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(
            f"a tensor or a numpy array is needed, got `{type(values).__name__}` ({error})"
        ) from None
    if isinstance(values, np.ndarray) and tensor.dtype == torch.float64:
        return tensor.to(torch.get_default_dtype())
    return tensor


def n_classes(targets: Sequence[Tensor]) -> int | None:
    """How many outputs these targets ask for: the classes of integers, the columns of floats.

    >>> n_classes([torch.tensor([0, 2, 1])]), n_classes([torch.zeros(5, 4)])
    (3, 4)
    """
    first = targets[0]
    if first.is_floating_point() or first.dtype == torch.bool:
        return 1 if first.ndim == 1 else int(first.shape[1]) if first.ndim == 2 else None
    if first.is_complex():
        return None
    highest = max(cast(int, target.max().item()) for target in targets)  # host sync: once
    return highest + 1 if highest >= 0 else None
