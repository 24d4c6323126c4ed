"""What pixels depend on, in words that are the same in every process: keys of caches on disk."""

import dis
import functools
import hashlib
import os
import sys
from collections.abc import Iterable
from enum import Enum
from pathlib import Path, PurePath
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType, ModuleType
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

_KNOWN = {"learnlite", "torch", "torchvision", "numpy", "PIL"}  # their versions are in the key
_PLAIN = (type(None), bool, int, float, complex, str, bytes, type(...))
_TOLD = (torch.dtype, torch.device, np.dtype, np.generic)
_LONG = 200  # characters that are given as they are, and not by their hash


def source_mark(source: Any) -> bytes:
    """What tells an image from others before its file is opened: path, size and time, or bytes."""
    if isinstance(source, str | os.PathLike):
        path = os.path.abspath(source)
        try:
            stat = os.stat(path)
        except OSError:  # opening it will say so
            return repr(path).encode()
        return repr((path, stat.st_size, stat.st_mtime_ns)).encode()
    if isinstance(source, bytes):
        return hashlib.blake2b(source).digest()
    if isinstance(source, np.ndarray | Tensor):
        return _array(source).encode()
    raise TypeError(
        '`cache="disk"` knows images again by their files, bytes or arrays, got a '
        f'`{type(source).__name__}`; give paths, or use `cache="memory"`'
    )


def described(value: Any) -> str:
    """A block or a transform with all its settings, and with its code if it is not ours.

    >>> from functools import partial
    >>> described(partial(max, 1)) == described(partial(max, 1)) != described(partial(max, 2))
    True
    """
    try:
        return _Describer().told(value)
    except (TypeError, OSError, RecursionError) as error:
        raise TypeError(
            f'`cache="disk"` cannot tell one `{type(value).__name__}` from another ({error}); keep '
            'numbers, text, arrays and functions in it, or use `cache="memory"`'
        ) from error


class _Describer:
    """Puts a value into words; what holds itself is told by how far up it is."""

    def __init__(self) -> None:
        self._around: list[int] = []  # what is being told
        self._known: dict[int, str] = {}
        self._held: list[Any] = []  # so that no id is given out twice

    def told(self, value: Any) -> str:
        if isinstance(value, Enum):
            return f"{self._name(type(value))}.{value.name}"
        if type(value) in _PLAIN or isinstance(value, (*_TOLD, PurePath)):
            return f"{type(value).__name__} {value!r}"
        if id(value) in self._around:
            return f"again {len(self._around) - self._around.index(id(value))}"
        if id(value) not in self._known:
            self._around.append(id(value))
            text = self._long(value)
            self._around.pop()
            self._known[id(value)] = text if len(text) < _LONG else _hashed(text.encode())
            self._held.append(value)
        return self._known[id(value)]

    def _long(self, value: Any) -> str:
        if isinstance(value, np.ndarray | Tensor):
            return _array(value)
        if type(value) in (tuple, list):
            return f"{type(value).__name__} [{self._all(value)}]"
        if type(value) in (set, frozenset):  # they come in another order in each process
            return f"set [{', '.join(sorted(map(self.told, value)))}]"
        if isinstance(value, dict) and type(value) is dict:
            return f"dict [{self._all(cast(dict[Any, Any], value).items())}]"
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, MethodType):
            return f"{self.told(value.__func__)} of {self.told(value.__self__)}"
        if isinstance(value, BuiltinFunctionType):
            return self._name(value)
        if isinstance(value, CodeType):
            parts = (value.co_code, value.co_names, value.co_consts)
            return f"code {self._all(parts)}"
        if isinstance(value, ModuleType):
            return self._module(value)
        if isinstance(value, functools.partial):
            made = cast(Any, value)
            return f"partial {self._all((made.func, made.args, made.keywords))}"
        if isinstance(value, property):
            return f"property {self._all((value.fget, value.fset))}"
        if isinstance(value, staticmethod | classmethod):
            return f"{type(value).__name__} {self.told(cast(Any, value).__func__)}"
        return self._object(value)

    def _object(self, value: Any) -> str:
        """Its class and all that a copy of it would be made of."""
        made: Any = value.__reduce_ex__(4)
        if isinstance(made, str):
            return f"{self.told(type(value))} {made}"
        maker, arguments, *more = made
        state, *contents = (*more, None, None, None)[:3]  # of its own, of a list, of a dict
        listed = [None if part is None else list(part) for part in contents]
        return f"{self.told(type(value))} {self._all((maker, arguments, state, listed))}"

    def _class(self, cls: type) -> str:
        parts = [self._name(cls)]
        for base in cls.__mro__:
            if not _is_known(base.__module__):
                members = {
                    name: value
                    for name, value in vars(base).items()
                    if not name.startswith(("__", "_abc_")) or isinstance(value, FunctionType)
                }
                parts.append(self._all(sorted(members.items())))
        return " ".join(parts)

    def _function(self, function: FunctionType) -> str:
        name = self._name(function)
        if _is_known(function.__module__):
            return name
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        used = {
            name: function.__globals__[name]
            for name in sorted(_globals(function.__code__))
            if name in function.__globals__
        }
        defaults = function.__defaults__, function.__kwdefaults__
        return f"{name} {self._all((function.__code__, defaults, cells, used))}"

    def _module(self, module: ModuleType) -> str:
        file = getattr(module, "__file__", None)
        if _is_known(module.__name__) or not file:
            return f"module {module.__name__}"
        return f"module {module.__name__} {_hashed(Path(file).read_bytes())}"

    def _all(self, values: Iterable[Any]) -> str:
        return ", ".join(self.told(value) for value in values)

    @staticmethod
    def _name(value: Any) -> str:
        return f"{value.__module__}.{value.__qualname__}"


def _is_known(module: str | None) -> bool:
    first = (module or "").partition(".")[0]
    return first in _KNOWN or (first in sys.stdlib_module_names and first != "__main__")


def _globals(code: CodeType) -> set[str]:
    """The names that a function takes from its module, or those in it do."""
    names = {
        cast(str, instruction.argval)
        for instruction in dis.get_instructions(code)
        if instruction.opname in ("LOAD_GLOBAL", "LOAD_NAME")
    }
    for const in code.co_consts:
        if isinstance(const, CodeType):
            names |= _globals(const)
    return names


def _array(value: Any) -> str:
    array = np.ascontiguousarray(value.detach().cpu() if isinstance(value, Tensor) else value)
    if array.dtype.hasobject:
        raise TypeError("an array of objects has no bytes of its own")
    return repr((array.shape, str(array.dtype), _hashed(array.tobytes())))


def _hashed(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=32).hexdigest()
