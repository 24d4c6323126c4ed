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


def tensor_sets(
    given: tuple[Any, ...], valid: Any, valid_pct: float, seed: int, n_inp: int | None
) -> list[TensorItems]:
    """The training set and the others: as given, or the rows of one set split in two."""
    if not given:
        raise ValueError("`from_tensors` needs tensors: `from_tensors((x, y), (x_valid, y_valid))`")
    if _is_group(given[0]):
        groups = given if valid is None else (*given, valid)
    else:
        groups = ((*given,),) if valid is None else ((*given,), valid)
    if not all(_is_group(group) for group in groups):
        raise TypeError(
            "tensors and tuples of tensors are mixed; give either `from_tensors(x, y)` or "
            "`from_tensors((x, y), (x_valid, y_valid))`"
        )
    widths = sorted({len(group) for group in groups})
    if len(widths) > 1:
        raise ValueError(f"the sets must have as many tensors each, got {widths}")
    if widths[0] > 2 and n_inp is None:
        raise ValueError(
            f"{widths[0]} tensors in one set: say with `n_inp` how many of them are inputs; or, if "
            "some are for validation, give pairs: `from_tensors((x, y), (x_valid, y_valid))`"
        )
    sets = [TensorItems(*group) for group in groups]
    return sets if len(sets) > 1 else _held_back(sets[0], valid_pct, seed)


def _is_group(value: Any) -> bool:
    """Whether it is a set, (x, y), and not one tensor written as a list of numbers or rows."""
    if not isinstance(value, tuple | list):
        return False
    parts = cast(Sequence[Any], value)
    if isinstance(value, list):
        return any(isinstance(part, Tensor | np.ndarray) for part in parts)
    return not any(isinstance(part, int | float) for part in parts)


def _held_back(items: TensorItems, valid_pct: float, seed: int) -> list[TensorItems]:
    if not 0 <= valid_pct < 1:
        raise ValueError(f"`valid_pct` must be a fraction from 0 up to 1, got {valid_pct}")
    if not valid_pct or len(items) < 2:
        return [items]
    n_valid = min(max(round(len(items) * valid_pct), 1), len(items) - 1)
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed))
    order = order.to(items.tensors[0].device)
    return [TensorItems(*items.take(order[n_valid:])), TensorItems(*items.take(order[:n_valid]))]
