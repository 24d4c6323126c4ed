"""Which objects may stand in an exported file: each by a name of a closed table, never by code."""

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from torch import Tensor

from learnlite.data.wording import short
from learnlite.recipe import Recipe, plain, record_instances
from learnlite.tensor_file import FileError

T = TypeVar("T")
Told = dict[str, Any]
"""Plain values that a file can hold; `kind` is the name of what they tell of."""


class ExportError(ValueError):
    """Something of a learner that an exported file cannot hold, and what can be done."""


@dataclass(frozen=True)
class _Form:
    cls: Any
    tell: Callable[[Any], Told]
    make: Callable[..., Any]
    args: frozenset[str]


class Table:
    """A name for each class of one sort, with the arguments that make an object of it again.

    >>> table = Table("point")
    >>> table.add(complex, "real", "imag")
    >>> table.tell(3 + 4j)
    {'kind': 'complex', 'real': 3.0, 'imag': 4.0}
    >>> table.make({"kind": "complex", "real": 0, "imag": 1})
    1j
    >>> table.make({"kind": "os.system"})
    Traceback (most recent call last):
    ...
    learnlite.tensor_file.FileError: the file names the point 'os.system', which is not known here
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._forms: dict[str, _Form] = {}
        self._kinds: dict[Any, str] = {}

    def add(
        self,
        cls: Any,
        *args: str,
        tell: Callable[[Any], Told] | None = None,
        make: Callable[..., Any] | None = None,
        kind: str | None = None,
    ) -> None:
        """Let objects of this class stand in a file, by the arguments `args` of their making.

        They are read from attributes of the same names, or as `tell` tells them.
        """
        name: str = cls.__name__ if kind is None else kind

        def read(thing: Any) -> Told:
            return {name: getattr(thing, name) for name in args}

        self._forms[name] = _Form(cls, tell or read, make or cls, frozenset(args))
        self._kinds[cls] = name

    def add_function(self, function: Callable[..., Any], kind: str | None = None) -> None:
        """Let this very function stand in a file."""
        kind = kind or function.__name__
        self._forms[kind] = _Form(function, lambda _: {}, lambda: function, frozenset())
        self._kinds[function] = kind

    def tell(self, thing: Any) -> Told | None:
        """What a file tells of an object; None for one whose class is not in the table."""
        kind = self._kind_of(thing)
        if kind is None:
            return None
        told = self._forms[kind].tell(thing)
        return {"kind": kind} | {key: self._plain(value, key) for key, value in told.items()}

    def make(self, told: Any) -> Any:
        """The object that a file tells of; whatever is wrong is a FileError."""
        if not isinstance(told, dict):
            raise FileError(f"the file should tell of a {self.what}, and has {short(told)}")
        args = dict(cast(Told, told))
        kind = args.pop("kind", None)
        form = self._forms.get(kind) if isinstance(kind, str) else None
        if form is None:
            raise FileError(
                f"the file names the {self.what} {short(kind)}, which is not known here"
            )
        unknown = args.keys() - form.args
        if unknown:
            raise FileError(f"the file gives `{kind}` an argument {short(min(unknown))} it has not")
        try:
            return form.make(**args)
        except FileError:
            raise
        except Exception as error:
            raise FileError(f"the file's {self.what} `{kind}` cannot be made: {error}") from error

    def _kind_of(self, thing: Any) -> str | None:
        try:
            return self._kinds.get(type(thing)) or self._kinds.get(thing)
        except TypeError:  # it has no hash, and is no function
            return None

    def _plain(self, value: Any, name: str) -> Any:
        """Plain values, tensors as lists, and what stands in the table too."""
        if isinstance(value, Tensor):
            return value.detach().cpu().tolist()
        if isinstance(value, list | tuple):
            return [self._plain(part, name) for part in cast("list[Any]", value)]
        if isinstance(value, Mapping):
            parts = cast(Mapping[str, Any], value)
            return {key: self._plain(part, name) for key, part in parts.items()}
        try:
            return plain(value, name)
        except TypeError as error:
            raise ExportError(f"a file cannot hold {error}") from None


class Transforms(Table):
    """A table of transforms, in which those that a user has registered stand too."""

    def tell(self, thing: Any) -> Told | None:
        if isinstance(thing, type) or inspect.isfunction(thing):
            name = _NAMES.get(thing)
            return super().tell(thing) if name is None else {"kind": "registered", "name": name}
        recipe = getattr(thing, "__dict__", {}).get("recipe")
        if isinstance(recipe, Recipe) and _YOURS.get(recipe.name) is type(thing):
            return {"kind": "registered", "name": recipe.name, "args": recipe.args}
        return super().tell(thing)

    def make(self, told: Any) -> Any:
        if not isinstance(told, dict) or cast(Told, told).get("kind") != "registered":
            return super().make(told)
        name, args = cast(Told, told).get("name"), cast(Told, told).get("args")
        yours = _YOURS.get(name) if isinstance(name, str) else None
        if yours is None:
            raise FileError(
                f"the file needs your {self.what} {short(name)}: import the module that registers "
                f"it, by `@register_transform({short(name)})`, and load again"
            )
        if isinstance(yours, type) != isinstance(args, dict):
            raise FileError(f"the file gives your {self.what} {short(name)} other arguments")
        try:
            return yours(**cast(Told, args)) if isinstance(yours, type) else yours
        except Exception as error:
            raise FileError(f"your {self.what} {short(name)} cannot be made: {error}") from error


def register_transform(name: str) -> Callable[[T], T]:
    """Let exported files name an item or batch transform of your own: a function, or a class.

    The arguments of a class are plain, as for `register_model`. Where such a file is loaded, the
    same registration must have run before.

    >>> @register_transform("doctest_upside_down")
    ... def upside_down(item):
    ...     return (item[0].flip(-2), *item[1:])
    """
    if not isinstance(name, str) or not name:
        raise TypeError(
            f"`register_transform` needs a name, got {name!r}; write it so: "
            '`@register_transform("my_crop")`'
        )

    def register(thing: T) -> T:
        there = _YOURS.get(name)
        if there is not None and _place(there) != _place(thing):
            raise ValueError(
                f"`{name}` is registered already, for `{'.'.join(_place(there))}`; "
                "choose another name"
            )
        if isinstance(thing, type):
            record_instances(name, thing, inspect.signature(thing), {})
        elif not inspect.isfunction(thing):
            raise TypeError(f"`register_transform` takes a function or a class, got {thing!r}")
        _YOURS[name] = thing
        _NAMES[thing] = name
        return thing

    return register


def name_of(thing: Any) -> str:
    """What a message calls an object: its function's name, or its class."""
    while isinstance(thing, functools.partial):
        thing = cast(Any, thing).func
    name = getattr(thing, "__qualname__", None) or type(thing).__qualname__
    return "lambda" if name.endswith("<lambda>") else name.rpartition("<locals>.")[2]


def _place(thing: Any) -> tuple[str, str]:
    return thing.__module__, thing.__qualname__


_YOURS: dict[str, Any] = {}
_NAMES: dict[Any, str] = {}
