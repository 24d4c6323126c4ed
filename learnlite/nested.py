"""Nested plain values with tensors in them, taken apart into JSON and tensors, and put together.

What JSON has not is written as an object whose only name begins with `$`: `{"$tuple": […]}`.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from learnlite.tensor_file import FileError, parse

_MANY = 16  # numbers, or rows of them, from which on a list is a tensor: 8 bytes each, not 20
_NUMBERS = {float: torch.float64, int: torch.int64}
_INT64 = 1 << 63


def kind_of_device(tensor: Tensor) -> str:
    """The kind of device on which a tensor lies."""
    return tensor.device.type


def take_apart(
    value: Any, kind_of: Callable[[Tensor], str] = kind_of_device
) -> tuple[str, dict[str, Tensor]]:
    """The text in which `value` is told, and the tensors that it names.

    Those are the dicts, lists, tuples, numbers, texts and tensors of a state; anything else is a
    TypeError that says where it stands. No tensor is copied.

    >>> take_apart({"step": 3, "betas": (0.9, 0.99), "weight": torch.ones(2)})
    ('{"step":3,"betas":{"$tuple":[0.9,0.99]},"weight":{"$tensor":["weight","cpu"]}}', ...)
    """
    taking = _Taking(kind_of)
    told = taking.told(value, "")
    text = json.dumps(told, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text, taking.tensors


def put_together(
    text: str, tensors: dict[str, Tensor], path: Path, device: Any = None
) -> tuple[Any, set[str]]:
    """What `take_apart` was given, and the names of the tensors that are in it.

    Tensors that did not lie on the CPU go to `device`. `path` is for messages.

    >>> text, tensors = take_apart([torch.ones(2), float("nan"), {1: "one"}])
    >>> put_together(text, tensors, Path("file"))
    ([tensor([1., 1.]), nan, {1: 'one'}], {'0'})
    """
    used: set[str] = set()
    try:
        value = _value(parse(text, path), tensors, used, device)
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f"{path} tells of a state that cannot be put together: {error}") from error
    return value, used


class _Taking:
    """Tells values, and gathers the tensors in them."""

    def __init__(self, kind_of: Callable[[Tensor], str]) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._kind_of = kind_of

    def told(self, value: Any, place: str) -> Any:
        kind = cast(Any, type(value))
        if value is None or kind in (bool, int, str):
            return value
        if kind is float:
            return value if math.isfinite(value) else {"$float": repr(value)}
        if isinstance(value, Tensor):
            return {"$tensor": self._named(value, place)}
        if isinstance(value, np.generic):
            return self.told(value.item(), place)
        if isinstance(value, np.ndarray):
            if value.dtype.kind not in "biuf":
                raise _unknown(f"an array of {value.dtype}", place)
            return {"$array": self._named(torch.from_numpy(np.array(value)), place)}
        if isinstance(value, list):
            return self._list(cast("list[Any]", value), place)
        if isinstance(value, tuple):
            parts = cast("tuple[Any, ...]", value)
            return {"$tuple": [self.told(part, f"{place}.{i}") for i, part in enumerate(parts)]}
        if isinstance(value, dict):
            given = cast(dict[Any, Any], value)
            named = {key: self.told(part, f"{place}.{key}") for key, part in given.items()}
            if all(type(key) is str and key[:1] != "$" for key in named):
                return named
            return {"$dict": [[self.told(key, place), part] for key, part in named.items()]}
        raise _unknown(f"a `{kind.__name__}`", place)

    def _list(self, values: list[Any], place: str) -> Any:
        numbers = _as_numbers(values) if len(values) >= _MANY else None
        if numbers is not None:
            return {"$numbers": self._named(numbers, place)}
        return [self.told(value, f"{place}.{i}") for i, value in enumerate(values)]

    def _named(self, tensor: Tensor, place: str) -> list[Any]:
        """Its name, kind of device, and the order of its axes where that is not the usual one."""
        kind, tensor = self._kind_of(tensor), tensor.detach()
        axes = sorted(range(tensor.ndim), key=lambda axis: -tensor.stride(axis))
        turned = not tensor.is_contiguous() and tensor.permute(axes).is_contiguous()
        name, n = place.removeprefix("."), 2
        while name in self.tensors:  # two places may read alike: {"a.b": …} and {"a": {"b": …}}
            name, n = f"{place.removeprefix('.')} ({n})", n + 1
        self.tensors[name] = tensor.permute(axes) if turned else tensor
        return [name, kind, *([axes] if turned else [])]


def _as_numbers(values: list[Any]) -> Tensor | None:
    """The numbers of a list, or of rows of one length; None unless all are of one kind."""
    first = values[0]
    rows = type(first) is list
    if rows and not all(type(row) is list and len(row) == len(first) for row in values):
        return None
    flat = [value for row in values for value in row] if rows else values
    kind = cast(Any, type(flat[0])) if flat else None
    if kind not in _NUMBERS or not all(type(value) is kind for value in flat):
        return None
    if kind is int and not all(-_INT64 <= value < _INT64 for value in flat):
        return None
    numbers = torch.tensor(flat, dtype=_NUMBERS[kind])
    return numbers.view(len(values), -1) if rows else numbers


def _unknown(what: str, place: str) -> TypeError:
    return TypeError(
        f"`{place.removeprefix('.')}` is {what}, which cannot be saved; a state holds numbers, "
        "texts, lists, dicts and tensors"
    )


def _value(told: Any, tensors: dict[str, Tensor], used: set[str], device: Any) -> Any:
    if isinstance(told, list):
        return [_value(part, tensors, used, device) for part in cast("list[Any]", told)]
    if not isinstance(told, dict):
        return told
    given = cast(dict[str, Any], told)
    mark, part = cast("tuple[str, Any]", next(iter(given.items()), ("", None)))
    if mark[:1] != "$":
        return {key: _value(part, tensors, used, device) for key, part in given.items()}
    if mark == "$float":
        return {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}[part]
    if mark == "$tuple":
        return tuple(_value(part, tensors, used, device))
    if mark == "$dict":
        return {
            _value(key, tensors, used, device): _value(value, tensors, used, device)
            for key, value in part
        }
    as_read: Callable[[Tensor], Any] = _READ[mark]
    used.add(part[0])
    return as_read(_placed(tensors[part[0]], device, *part[1:]))


def _placed(tensor: Tensor, device: Any, kind: str, axes: list[int] | None = None) -> Tensor:
    if axes is not None:
        tensor = tensor.permute([axes.index(axis) for axis in range(tensor.ndim)])
    return tensor if kind == "cpu" or device is None else tensor.to(device)


_READ: dict[str, Callable[[Tensor], Any]] = {
    "$tensor": lambda tensor: tensor,
    "$array": lambda tensor: cast(Any, tensor).numpy(),
    "$numbers": lambda tensor: cast(Any, tensor).tolist(),
}
