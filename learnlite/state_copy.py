"""Copies of a state: made to be written from, or not yet made while nothing changes it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def copied(tensor: Tensor) -> Tensor:
    """A copy of a tensor, on its device."""
    return tensor.detach().clone(memory_format=torch.preserve_format)


def with_copies(value: Any, copy: Callable[[Tensor], Tensor] = copied) -> Any:
    """A copy of dicts, lists and tuples, in which `copy` has made the tensors.

    >>> with_copies({"sizes": [torch.ones(3), 2]}, lambda tensor: tensor.sum())
    {'sizes': [tensor(3.), 2]}
    """
    if isinstance(value, Tensor):
        return copy(value)
    if isinstance(value, dict):
        return {key: with_copies(part, copy) for key, part in value.items()}
    if isinstance(value, list | tuple):
        parts = [with_copies(part, copy) for part in value]
        return parts if isinstance(value, list) else tuple(parts)
    return value


class HostCopy:
    """Copies tensors to where they can be written from: those of a GPU to pinned memory.

    With `own` those of the host are copied too, as training goes on while they are written.

    >>> copy = HostCopy(own=True)
    >>> copy(torch.ones(3)), copy.n_bytes
    (tensor([1., 1., 1.]), 12)
    """

    def __init__(self, *, own: bool) -> None:
        self.n_bytes = 0
        self._own = own
        self._kinds: dict[int, str] = {}  # of copies from a device: what that was
        self._copied: Any = None

    def __call__(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach()
        self.n_bytes += tensor.nbytes
        if tensor.device.type == "cpu":
            return tensor.clone() if self._own else tensor
        pinned = tensor.device.type == "cuda"
        copy = torch.empty_like(tensor, device="cpu", pin_memory=pinned)
        copy.copy_(tensor, non_blocking=pinned)
        self._kinds[id(copy)] = tensor.device.type
        return copy

    def begun(self) -> None:
        """All copies are asked for; what the device does after this may change what they copy."""
        if "cuda" in self._kinds.values():
            self._copied = torch.cuda.Event()
            self._copied.record()

    def wait(self) -> None:
        """Until the copies are there."""
        if self._copied is not None:
            self._copied.synchronize()  # host sync: in the thread, if one writes

    def kind_of(self, tensor: Tensor) -> str:
        """The kind of device that a copy, which must still be there, was made from."""
        return self._kinds.get(id(tensor), tensor.device.type)


class Parked:
    """A state whose tensors are those of training itself: right as long as nobody changes them.

    >>> weight = torch.ones(3)
    >>> parked = Parked(lambda copy: {"model": {}, "momentum": copy(weight)})
    >>> parked.is_intact()
    True
    >>> _ = weight.mul_(2)
    >>> parked.is_intact()
    False
    """

    def __init__(self, capture: Callable[[Callable[[Tensor], Tensor]], dict[str, Any]]) -> None:
        self._versions: list[tuple[Tensor, int]] = []
        self._is_known = True
        self.state = capture(self._seen)
        self._weights = {id(tensor) for tensor in self.state["model"].values()}

    def _seen(self, tensor: Tensor) -> Tensor:
        if tensor.is_inference():  # torch does not count what is done to such
            self._is_known = False
        else:
            self._versions.append((tensor, tensor._version))
        return tensor

    def is_intact(self, *, but_weights: bool = False) -> bool:
        """Whether no tensor was written to since; `but_weights`, which validation may lend out."""
        return self._is_known and all(
            tensor._version == version or (but_weights and id(tensor) in self._weights)
            for tensor, version in self._versions
        )
