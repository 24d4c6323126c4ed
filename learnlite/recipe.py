"""How a model was built, by name and plain arguments: so that a file can say it, and no code."""

import difflib
import functools
import inspect
import math
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar, cast, overload

from torch import nn

P = ParamSpec("P")
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Recipe:
    """The name of a registered function that makes a model, and the arguments to call it with."""

    name: str
    args: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True)
class _Builder:
    make: Callable[..., nn.Module]
    fixed: dict[str, Any]
    call: str


@overload
def builder(name: Callable[P, M], /) -> Callable[P, M]: ...


@overload
def builder(
    name: str | None = None,
    /,
    *,
    fixed: Mapping[str, Any] | None = None,
    call: str | None = None,
) -> Callable[[Callable[P, M]], Callable[P, M]]: ...


def builder(
    name: Any = None, /, *, fixed: Mapping[str, Any] | None = None, call: str | None = None
) -> Any:
    """Register a function that makes a model; what it makes tells its recipe by `recipe_of`.

    Arguments are plain: numbers, strings, True, False, None, lists and dicts of those. A model made
    with another has no recipe, and `why_no_recipe` says which it was. `fixed` are arguments that
    a recipe has with these values whatever they were, as `{"pretrained": False}`. `call` is how
    people call it, if by another name, as "make_net({})".

    >>> @builder("doctest_net")
    ... def make(n_out: int, bias: bool = True) -> nn.Module:
    ...     return nn.Linear(4, n_out, bias=bias)
    >>> recipe_of(make(2))
    Recipe(name='doctest_net', args={'n_out': 2, 'bias': True})
    >>> build(recipe_of(make(2)))
    Linear(in_features=4, out_features=2, bias=True)
    """
    if callable(name):
        return _registered(cast(Any, name).__name__, name, {}, None)

    def register(make: Any) -> Any:
        return _registered(make.__name__ if name is None else name, make, fixed or {}, call)

    return register


def register_model(name: str) -> Callable[[Callable[P, M]], Callable[P, M]]:
    """Let exported files name a model of your own: a class, or a function that makes one.

    Where such a file is loaded, the same registration must have run before.

    >>> @register_model("doctest_tiny")
    ... class Tiny(nn.Sequential):
    ...     def __init__(self, width: int) -> None:
    ...         super().__init__(nn.Linear(4, width))
    >>> recipe_of(Tiny(8))
    Recipe(name='doctest_tiny', args={'width': 8})
    """
    if not isinstance(name, str) or not name:
        raise TypeError(
            f"`register_model` needs a name for the model, got {name!r}; write it so: "
            '`@register_model("my_net")`'
        )
    return builder(name)


def recipe_of(model: nn.Module) -> Recipe | None:
    """How the model was built, if a `builder` built it; also of one that is compiled.

    >>> recipe_of(nn.Linear(1, 1)) is None
    True
    """
    found = vars(_plain_model(model)).get("recipe")
    return found if isinstance(found, Recipe) else None


def why_no_recipe(model: nn.Module) -> str:
    """What keeps a model from having a recipe, as the end of a sentence."""
    model = _plain_model(model)
    fault = vars(model).get("recipe_fault")
    return fault or f"no registered function has built this `{type(model).__name__}`"


def build(recipe: Recipe) -> nn.Module:
    """Call the function that a recipe names; one that is not registered raises a ValueError.

    >>> build(Recipe("eval", {}))
    Traceback (most recent call last):
    ...
    ValueError: no model is registered as `eval`; `register_model` registers your own
    """
    found = _BUILDERS.get(recipe.name)
    if found is None:
        close = difflib.get_close_matches(recipe.name, _BUILDERS, 1, 0.75)
        meant = f"did you mean `{close[0]}`?" if close else "`register_model` registers your own"
        raise ValueError(f"no model is registered as `{recipe.name[:80]}`; {meant}")
    args = cast(dict[str, Any], plain(recipe.args, "the arguments"))
    for name, value in found.fixed.items():
        if args.get(name, value) != value:
            raise ValueError(f"a recipe of `{recipe.name}` has `{name}={value!r}` and no other")
    args |= found.fixed
    try:
        inspect.signature(found.make).bind(**args)
    except TypeError as error:
        raise ValueError(f"`{recipe.name}` does not take the recipe's arguments: {error}") from None
    model = found.make(**args)
    if not isinstance(model, nn.Module):
        raise TypeError(f"`{recipe.name}` gives no `nn.Module`, but a {type(model).__name__}")
    return model


def registered_models() -> list[str]:
    """The names that a recipe may have now, in order.

    >>> "eval" in registered_models()
    False
    """
    return sorted(_BUILDERS)


def call_of(name: str, args: Mapping[str, Any]) -> str:
    """How people call a registered function with these arguments, those that are not its defaults.

    >>> @builder("doctest_call")
    ... def make_net(width: int, act: object = None) -> nn.Module:
    ...     return nn.Linear(4, width)
    >>> call_of("doctest_call", {"width": 2, "act": nn.ReLU()})
    'make_net(width=2, act=ReLU(…))'
    """
    found = _BUILDERS[name]
    defaults = {key: p.default for key, p in inspect.signature(found.make).parameters.items()}
    shown = [
        f"{key}={_brief(value)}"
        for key, value in args.items()
        if key not in found.fixed and _differs(value, defaults.get(key, inspect.Parameter.empty))
    ]
    return found.call.format(", ".join(shown))


def how_to_build(model: nn.Module) -> str:
    """The call that builds a model again, as far as that is known.

    >>> how_to_build(nn.Linear(1, 1))
    'Linear(…)'
    """
    model = _plain_model(model)
    recipe = recipe_of(model)
    if recipe is not None:
        return call_of(recipe.name, recipe.args)
    return vars(model).get("recipe_call") or f"{type(model).__name__}(…)"


def how_to_register(model: nn.Module) -> str:
    """What to register, so that a model has a recipe; nothing if that does not help.

    >>> how_to_register(nn.Linear(1, 1))
    'or make it in a function of yours below `@register_model("my_net")`, and export again'
    """
    model = _plain_model(model)
    if recipe_of(model) is not None:
        return ""
    return vars(model).get("recipe_advice", _how_to_register(model, "net"))


def _how_to_register(value: Any, argument: str) -> str:
    cls = value if isinstance(value, type) else type(value)
    if not issubclass(cls, nn.Module):
        return ""
    if cls.__module__.startswith("torch."):
        made = f"`{argument}`" if argument != "net" else "it"
        return (
            f'or make {made} in a function of yours below `@register_model("my_{argument}")`, and '
            "export again"
        )
    return (
        f'or write `@register_model("{cls.__name__.lower()}")` above `class {cls.__name__}`, build '
        "it anew, and export again"
    )


def _differs(value: Any, default: Any) -> bool:
    if value is default:
        return False
    return type(value) is not type(default) or isinstance(value, nn.Module) or value != default


def _brief(value: Any) -> str:
    """A value in a call, in a line."""
    if isinstance(value, nn.Module):
        return f"{type(value).__name__}(…)"
    if isinstance(value, dict) and set(cast(Any, value)) == {"name", "args"}:  # a recipe's
        return f"{value['name']}(…)"
    name = getattr(value, "__name__", None)
    if name is not None:
        return "lambda …" if name == "<lambda>" else name
    return " ".join(repr(value)[:60].split())


def _registered(name: str, make: Any, fixed: Mapping[str, Any], call: str | None) -> Any:
    signature = inspect.signature(make)
    for parameter in signature.parameters.values():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise TypeError(
                f"a recipe names its arguments, but `{parameter.name}` of `{make.__name__}` has no "
                "name in a call; take it by name"
            )
    unknown = fixed.keys() - signature.parameters.keys()
    if unknown:
        raise TypeError(f"`{make.__name__}` has no argument `{min(unknown)}` to fix")
    _check_free(name, make)
    call = call or f"{make.__name__}({{}})"
    _BUILDERS[name] = _Builder(make, dict(fixed), call)
    if isinstance(make, type):
        record_instances(name, make, signature, fixed)
        return make

    @functools.wraps(make)
    def recorded(*args: Any, **kwargs: Any) -> Any:
        model = make(*args, **kwargs)
        if isinstance(model, nn.Module):
            _record(model, name, signature.bind(*args, **kwargs), fixed)
        return model

    _BUILDERS[name] = _Builder(recorded, dict(fixed), call)
    return recorded


def record_instances(
    name: str, cls: type[Any], signature: inspect.Signature, fixed: Mapping[str, Any]
) -> None:
    """Let each instance of a class tell its recipe."""
    initialize = cls.__init__

    @functools.wraps(initialize)
    def recorded(self: Any, *args: Any, **kwargs: Any) -> None:
        initialize(self, *args, **kwargs)
        if type(self) is cls:  # a subclass may be another model
            _record(self, name, signature.bind(*args, **kwargs), fixed)

    cls.__init__ = recorded


def _record(model: Any, name: str, bound: inspect.BoundArguments, fixed: Mapping[str, Any]) -> None:
    given = set(bound.arguments)
    bound.apply_defaults()
    args: dict[str, Any] = {}
    own = vars(model)
    for key in ("recipe", "recipe_fault", "recipe_call", "recipe_advice"):
        own.pop(key, None)
    given_args = {
        each: (part, key in given)
        for key, value in bound.arguments.items()
        for each, part in (value.items() if _is_rest(bound, key) else ((key, value),))
    }
    for key, (part, is_given) in given_args.items():
        try:
            args[key] = fixed[key] if key in fixed else plain(part, key)
        except TypeError as error:
            if not is_given:  # its own default needs no saying
                continue
            own["recipe_fault"] = f"`{name}` was called with {error}"
            own["recipe_advice"] = _how_to_register(part, key)
            if name in _BUILDERS:  # and is no transform
                own["recipe_call"] = call_of(name, {k: part for k, (part, _) in given_args.items()})
            return
    own["recipe"] = Recipe(name, args)


def _is_rest(bound: inspect.BoundArguments, key: str) -> bool:
    return bound.signature.parameters[key].kind is inspect.Parameter.VAR_KEYWORD


def plain(value: Any, name: str) -> Any:
    """A copy of plain values; of anything else a TypeError that names it."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real) and math.isfinite(value):
        return float(value)
    if isinstance(value, list | tuple):
        return [plain(part, name) for part in cast("list[Any]", value)]
    if isinstance(value, dict):
        parts = cast(dict[Any, Any], value)
        if all(isinstance(key, str) for key in parts):
            return {key: plain(part, name) for key, part in parts.items()}
    shown = getattr(value, "__name__", None) or _brief(value)
    raise TypeError(f"`{name}={shown}`, which is no plain value")


def _check_free(name: str, make: Any) -> None:
    """A name stands for one function; one defined anew, as in a notebook's cell, replaces it."""
    there = _BUILDERS.get(name)
    if there is None:
        return
    old, new = (inspect.unwrap(each) for each in (there.make, make))
    if (old.__module__, old.__qualname__) != (new.__module__, new.__qualname__):
        raise ValueError(
            f"`{name}` is registered already, for `{old.__module__}.{old.__qualname__}`; "
            "choose another name"
        )


def _plain_model(model: nn.Module) -> nn.Module:
    """The model itself, where it is compiled."""
    return vars(model).get("_modules", {}).get("_orig_mod", model)


_BUILDERS: dict[str, _Builder] = {}
