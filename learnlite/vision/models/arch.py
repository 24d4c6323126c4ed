"""Architectures: what a user may give as `arch`, what a file calls it, and how it is made."""

import difflib
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Literal, cast

import torchvision
from torch import nn

from learnlite.recipe import Recipe, build, recipe_of
from learnlite.seeds import kept_rng
from learnlite.vision.models.xresnet import XRESNETS

Arch = str | nn.Module | Callable[..., nn.Module] | dict[str, Any]
Source = Literal["torchvision", "timm", "learnlite", "own"]


@dataclass(frozen=True)
class Architecture:
    """A network that can be made: where it comes from, its name there, and options to make it."""

    source: Source
    name: str
    made_by: Callable[..., nn.Module] | nn.Module | Recipe
    options: dict[str, Any] = field(default_factory=dict[str, Any])

    def make(self, **options: Any) -> nn.Module:
        """The network, with new weights (or the one that the user made)."""
        if isinstance(self.made_by, nn.Module):
            return self.made_by
        if isinstance(self.made_by, Recipe):
            return build(self.made_by)
        options = self.options | options
        if self.source == "timm":
            return self.made_by(self.name, pretrained=False, **options)
        with warnings.catch_warnings():  # GoogLeNet's, of how it may fill new weights one day
            if self.source == "torchvision":
                warnings.simplefilter("ignore", FutureWarning)
            model = self.made_by(**options)
        if not isinstance(model, nn.Module):
            raise TypeError(f"`{self.name}` gives no `nn.Module`, but a {type(model).__name__}")
        return model

    def spec(self, model: nn.Module) -> Any:
        """What a file may call it: a name, or a name and arguments; else what the user gave."""
        if self.source == "torchvision" or self.source == "timm":
            name = f"{self.source}/{self.name}"
            return {"name": name, "args": self.options} if self.options else name
        recipe = recipe_of(model)
        if recipe is None:
            return self.made_by
        if recipe.name in XRESNETS and recipe == recipe_of_default(recipe.name):
            return recipe.name
        return {"name": recipe.name, "args": recipe.args}


def find_architecture(arch: Arch) -> Architecture:
    """What `arch` stands for: a name, a function or class, a `partial` of one, or a network.

    Names are our own ("xresnet18"), torchvision's ("torchvision/resnet34"), and timm's
    ("convnext_tiny", or "timm/convnext_tiny").

    >>> found = find_architecture("torchvision/squeezenet1_1")
    >>> found.source, found.name, type(found.make()).__name__
    ('torchvision', 'squeezenet1_1', 'SqueezeNet')
    """
    if isinstance(arch, str):
        return _by_name(arch)
    if isinstance(arch, nn.Module):
        return Architecture("own", type(arch).__name__, arch)
    if isinstance(arch, dict):
        return _by_spec(arch)
    if isinstance(arch, partial):
        return _of_partial(cast("partial[nn.Module]", arch))
    if not callable(arch):
        raise TypeError(
            "`arch` is a function that makes a network, as `resnet34`, a name, as "
            f'"convnext_tiny", or an `nn.Module`; got {arch!r}'
        )
    name = getattr(arch, "__name__", type(arch).__name__)
    if XRESNETS.get(name) is arch:
        return Architecture("learnlite", name, arch)
    module = getattr(arch, "__module__", None) or ""
    if module.startswith("torchvision.models") and name in classifiers():
        return Architecture("torchvision", name, arch)
    if module.startswith("timm.models") and not isinstance(arch, type):
        return _of_timm(name)
    return Architecture("own", name, arch)


def classifiers() -> list[str]:
    """The names of torchvision's networks that classify images.

    >>> "resnet34" in classifiers(), "fcn_resnet50" in classifiers()
    (True, False)
    """
    return torchvision.models.list_models(module=torchvision.models)


def recipe_of_default(name: str) -> Recipe | None:
    """The recipe of one of our own architectures, made without options."""
    if name not in _DEFAULTS:
        with kept_rng():  # or the first model of a process would get other weights than the next
            _DEFAULTS[name] = recipe_of(XRESNETS[name]())
    return _DEFAULTS[name]


_LOADS = re.compile(r"weights|pretrained|checkpoint|cache|cfg|url|file|path|progress")
_DEFAULTS: dict[str, Recipe | None] = {}


def _by_name(name: str) -> Architecture:
    source, slash, rest = name.partition("/")
    if name in XRESNETS:
        return Architecture("learnlite", name, XRESNETS[name])
    if source == "torchvision" and slash:
        if rest not in classifiers():
            raise ValueError(
                f"torchvision has no network `{rest}` that classifies images"
                + _did_you_mean(rest, classifiers(), "torchvision/")
            )
        return Architecture("torchvision", rest, _torchvision(rest))
    if source == "timm" and slash:
        return _of_timm(rest)
    return _of_timm(name)


def _by_spec(spec: dict[str, Any]) -> Architecture:
    """What `spec` wrote into a recipe: a name and arguments."""
    name, args = spec.get("name"), spec.get("args")
    if set(spec) != {"name", "args"} or not isinstance(name, str) or not isinstance(args, dict):
        raise ValueError(
            f"an architecture is written as its `name` and its `args`, got {str(spec)[:80]}"
        )
    args = cast(dict[str, Any], args)
    if name.startswith(("torchvision/", "timm/")):
        found = _by_name(name)
        return _with_options(found, args)
    return Architecture("own", name, Recipe(name, args))


def _of_partial(arch: "partial[nn.Module]") -> Architecture:
    found = find_architecture(arch.func)
    if found.source in ("torchvision", "timm") and not arch.args:
        return _with_options(found, dict(arch.keywords))
    return Architecture(found.source, found.name, arch)


def _with_options(found: Architecture, options: dict[str, Any]) -> Architecture:
    """With options to make it, none of which loads anything: they may come from a file."""
    loads = [each for each in options if _LOADS.search(each) and each != "init_weights"]
    if loads:
        raise ValueError(
            f"`{loads[0]}` is no option of the architecture `{found.name}`; which weights to load "
            "is said by `pretrained` and `weights` of `vision_learner`"
        )
    return Architecture(found.source, found.name, found.made_by, options)


def _of_timm(name: str) -> Architecture:
    if find_spec("timm") is None:
        known = name in classifiers()
        own = _did_you_mean(name, XRESNETS) if not known else ""
        advice = f', or take torchvision\'s: `"torchvision/{name}"`' if known else own
        raise ImportError(
            f'`"{name}"` names a network of timm, which is not installed: '
            f'`pip install "learnlite[timm]"`{advice}'
        )
    timm: Any = import_module("timm")

    if not timm.is_model(name):
        if name in classifiers():
            raise ValueError(f'timm has no network `{name}`; did you mean `"torchvision/{name}"`?')
        names = [*timm.list_models(), *XRESNETS]
        raise ValueError(f"timm has no network `{name}`{_did_you_mean(name, names)}")
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = timm.list_pretrained(f"{name.partition('.')[0]}.*")
        raise ValueError(
            f"timm has no weights `{name}`, but {', '.join(tags) or 'none'}"
        ) from error
    return Architecture("timm", name, timm.create_model)


def _torchvision(name: str) -> Callable[..., nn.Module]:
    return torchvision.models.get_model_builder(name)


def _did_you_mean(name: str, names: Any, prefix: str = "") -> str:
    close = difflib.get_close_matches(name, list(names), 1, 0.6)
    return f'; did you mean `"{prefix}{close[0]}"`?' if close else ""
