"""Numbers of named things, batch by batch: kept on the device, read in one go."""

from typing import Any

import torch
from torch import Tensor

from learnlite.callback import did_you_mean


class Series:
    """A row of numbers for each of `names`, at some of a fit's batches.

    >>> series = Series("layers", ["first", "last"])
    >>> series.add(0, torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    >>> series.add(5, torch.tensor([[5.0, 6.0], [7.0, 8.0]]))
    >>> series.iters, series.of("last").tolist()
    ([0, 5], [[3.0, 4.0], [7.0, 8.0]])
    """

    def __init__(self, what: str, names: list[str] | None = None) -> None:
        self.what = what
        self.names = names or []
        self.iters: list[int] = []
        self._read: list[Tensor] = []
        self._chunks: list[Tensor] = []
        self._pending: list[Tensor] = []

    def add(self, train_iter: int, row: Tensor) -> None:
        """Take in a batch's numbers, of shape (names, numbers), without waiting for the device."""
        self.iters.append(train_iter)
        self._pending.append(row)
        if len(self._pending) >= 64:  # few small tensors on the device
            self._stack()

    def read(self) -> Tensor | None:
        """All of them on the CPU, of shape (batches, names, numbers); None if there are none."""
        self._stack()
        if self._chunks:
            self._read.append(torch.cat(self._chunks).cpu())  # host sync: an epoch's end, or asked
            self._chunks.clear()
        if len(self._read) > 1:
            self._read = [torch.cat(self._read)]
        return self._read[0] if self._read else None

    def check(self) -> Tensor:
        """All of them, or an error that says what is to be done first."""
        rows = self.read()
        if rows is None:
            raise ValueError(f"no {self.what} are recorded yet; give this callback to a fit first")
        return rows

    def of(self, idx: int | str) -> Tensor:
        """Those of one thing, by position or name: of shape (batches, numbers)."""
        return self.check()[:, self.position(idx)]

    def position(self, idx: int | str) -> int:
        """Where a thing stands, given by name or by an index, which may count from the end."""
        if isinstance(idx, str):
            if idx not in self.names:
                raise ValueError(f"`{idx}` is not recorded{did_you_mean(idx, self.names)}")
            return self.names.index(idx)
        if not -len(self.names) <= idx < len(self.names):
            raise IndexError(f"there are {len(self.names)} {self.what}, got the index {idx}")
        return idx % len(self.names)

    def state_dict(self) -> dict[str, Any]:
        """All that was taken in; nothing if that is nothing."""
        rows = self.read()
        if rows is None:
            return {}
        return {"names": list(self.names), "iters": list(self.iters), "rows": rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.names, self.iters = list(state.get("names", self.names)), list(state.get("iters", []))
        self._read = [state["rows"]] if state else []
        self._chunks, self._pending = [], []

    def _stack(self) -> None:
        if self._pending:
            self._chunks.append(torch.stack(self._pending))
            self._pending.clear()
