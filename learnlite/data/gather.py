"""Rows of many batches put together on the CPU, however a batch is nested."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor

_HALF = (torch.float16, torch.bfloat16)
_BATCHES = 32  # that a device may hold back
_BYTES = 1 << 26  # so much at most, as inputs are large


class Gathered:
    """The rows of batches, added one by one: tensors are copied into memory taken once.

    Tuples, lists and dicts keep their form, half floats become floats, and what holds no tensor is
    collected in a list; so are rows that differ in shape from batch to batch. `n` is how many rows
    there will be, if that is known. What lies on a device stays there for a few batches, so that
    only one of those waits for it.

    >>> gathered = Gathered(n=3)
    >>> gathered.add((torch.tensor([1, 2]), ["a", "b"]))
    >>> gathered.add((torch.tensor([3]), ["c"]))
    >>> gathered.whole()
    (tensor([1, 2, 3]), ['a', 'b', 'c'])
    """

    def __init__(self, n: int | None = None) -> None:
        self.n = n
        self._made: _Part | None = None

    def add(self, batch: Any) -> None:
        """Add what a batch has of them."""
        if self._made is None:
            self._made = _part_for(batch, self.n)
        self._made.add(batch)

    def whole(self) -> Any:
        """All rows; None if there is no batch."""
        return None if self._made is None else self._made.whole()


class _Part:
    def add(self, batch: Any) -> None:
        raise NotImplementedError

    def whole(self) -> Any:
        raise NotImplementedError


class _Rows(_Part):
    """Rows of a tensor, in memory that is taken when the first batch says how large a row is."""

    def __init__(self, first: Tensor, n: int | None) -> None:
        self._device = first.device
        self._dtype = torch.float32 if first.dtype in _HALF else first.dtype
        self._shape = tuple(first.shape[1:])
        self._taken = torch.empty((max(n or 0, len(first)), *self._shape), dtype=self._dtype)
        self._n = 0
        self._ragged: list[Tensor] = []
        self._held: Tensor | None = None
        self._n_held = 0
        if first.device.type != "cpu":
            size = max(first.numel() * self._dtype.itemsize, 1)
            times = max(min(_BATCHES, _BYTES // size), 1)
            self._held = first.new_empty((times * len(first), *self._shape), dtype=self._dtype)

    def add(self, batch: Tensor) -> None:
        part = batch.detach()
        if self._ragged or tuple(part.shape[1:]) != self._shape:
            self._add_ragged(part)
        elif self._held is None or part.device != self._device or len(part) > len(self._held):
            self._read()
            self._write(part)
        else:
            if self._n_held + len(part) > len(self._held):
                self._read()
            self._held[self._n_held : self._n_held + len(part)] = part
            self._n_held += len(part)

    def whole(self) -> Any:
        self._read()
        return self._ragged or self._taken[: self._n]

    def _write(self, part: Tensor) -> None:
        end = self._n + len(part)
        if end > len(self._taken):
            more = self._taken.new_empty((max(end, 2 * len(self._taken)), *self._shape))
            more[: self._n] = self._taken[: self._n]
            self._taken = more
        self._taken[self._n : end] = part
        self._n = end

    def _read(self) -> None:
        if self._held is not None and self._n_held:
            self._write(self._held[: self._n_held])  # host sync: one for some 32 batches
            self._n_held = 0

    def _add_ragged(self, part: Tensor) -> None:
        if not self._ragged:
            self._read()
            self._ragged = list(self._taken[: self._n].clone())
        self._ragged += part.to("cpu", self._dtype)  # host sync: where rows differ in shape


class _Several(_Part):
    """The parts of a tuple, a list or a dict."""

    def __init__(self, first: Any, n: int | None) -> None:
        self._like = first
        parts = first.items() if isinstance(first, Mapping) else enumerate(first)
        self._parts = {key: _part_for(part, n) for key, part in parts}

    def add(self, batch: Any) -> None:
        for key, part in self._parts.items():
            part.add(batch[key])

    def whole(self) -> Any:
        wholes = {key: part.whole() for key, part in self._parts.items()}
        if isinstance(self._like, Mapping):
            return wholes
        if hasattr(self._like, "_fields"):
            return type(self._like)(*wholes.values())
        return tuple(wholes.values())


class _Others(_Part):
    """What is no tensor with rows: the elements of a list, or one thing a batch."""

    def __init__(self, first: Any) -> None:
        self._is_list = isinstance(first, list | tuple)
        self._all: list[Any] = []

    def add(self, batch: Any) -> None:
        if self._is_list:
            self._all += batch
        else:
            self._all.append(batch.detach().cpu() if isinstance(batch, Tensor) else batch)

    def whole(self) -> Any:
        return None if all(one is None for one in self._all) else self._all


def _part_for(first: Any, n: int | None) -> _Part:
    if isinstance(first, Tensor) and first.ndim:
        return _Rows(first, n)
    if isinstance(first, Mapping):
        return _Several(first, n)
    if isinstance(first, tuple | list):
        parts = cast(Sequence[Any], first)
        if any(isinstance(part, Tensor | Mapping | tuple | list) for part in parts):
            return _Several(parts, n)
    return _Others(first)
