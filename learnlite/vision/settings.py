"""The arguments that all makers of loaders share, and hints where another one is given."""

from collections.abc import Callable, Iterable
from inspect import Parameter, signature
from typing import Any, Literal, TypedDict, TypeVar, get_args, get_type_hints

import torch

from learnlite.data.loader import OTHER_NAMES
from learnlite.data.wording import did_you_mean

F = TypeVar("F", bound=Callable[..., Any])


class ReadingSettings(TypedDict, total=False):
    """Arguments of `Loader` that say how it reads."""

    pin_memory: bool | None
    timeout: float
    prefetch_factor: int
    start_method: str | None


class LoaderSettings(ReadingSettings, total=False):
    """Arguments of `DataBlock.dataloaders`, which explains them."""

    bs: int
    val_bs: int | None
    shuffle: bool
    drop_last: bool | None
    device: str | int | torch.device | None
    num_workers: int | None
    weights: Any
    balanced: bool
    subset: float | int | None
    on_bad_image: Literal["raise", "skip"]
    cache: Literal["memory", "disk"] | None
    cache_size: float | None


_OTHER_NAMES = OTHER_NAMES | {
    "after_batch": "batch_tfms",
    "after_item": "item_tfms",
    "get_label": "get_y",
    "label_func": "get_y",
    "n": "max_n",
    "tfms": "item_tfms",
    "transform": "item_tfms",
    "vocab": "codes",
    "workers": "num_workers",
}
_OF_IMSHOW = (
    *("cmap", "norm", "aspect", "interpolation", "alpha", "vmin", "vmax", "origin", "extent"),
    *("filternorm", "filterrad", "resample", "url", "zorder", "label", "visible"),
)
_OF_BLOCKS = (
    *("blocks", "get_items", "get_x", "get_y", "getters", "splitter", "n_inp"),
    *("item_tfms", "batch_tfms"),
)


def refuse_unknown(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names that are no arguments of the function, with the one that was perhaps meant.

    >>> refuse_unknown("from_folder", ["batch_size"], ["path", "bs"])
    Traceback (most recent call last):
    ...
    TypeError: `from_folder` has no argument `batch_size`; did you mean `bs`?
    """
    known = [name for name in known if name not in ("self", "cls", "settings", "unknown")]
    for name in given:
        if name not in known:
            raise TypeError(f"`{function}` has no argument `{name}`{_meant(name, known)}")


def refuse_near(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names that look like arguments of the function; others go on to matplotlib.

    >>> refuse_near("show_batch", ["alpha", "rows"], ["max_n", "nrows", "ncols"])
    Traceback (most recent call last):
    ...
    TypeError: `show_batch` has no argument `rows`; did you mean `nrows`?
    """
    known = [name for name in known if name not in ("self", "settings", "batch")]
    near = [name for name in given if name not in _OF_IMSHOW and _meant(name, known)]
    refuse_unknown(function, near, known)


def _meant(name: str, known: list[str]) -> str:
    other = _OTHER_NAMES.get(name, "")
    if hint := did_you_mean(other if other in known else name, known):
        return hint
    if name == "size" and "item_tfms" in known:
        return "; give `item_tfms=Resize(224)`"
    for argument in _OF_BLOCKS:
        if did_you_mean(other or name, [argument]):
            return f"; `DataBlock` takes `{argument}`: give it there"
    return ""


def telling(*makers: Any) -> Callable[[F], F]:
    """Let `help` and completion name the settings that a function takes as `**settings`.

    The function itself stays as it is. Defaults are those of the first of `makers` that has them.
    """

    def tell(function: F) -> F:
        own = signature(function)
        defaults = {
            name: parameter.default
            for maker in reversed(makers)
            for name, parameter in signature(maker).parameters.items()
        }
        named = [p for p in own.parameters.values() if p.kind is not Parameter.VAR_KEYWORD]
        (handed_on,) = (p for p in own.parameters.values() if p.kind is Parameter.VAR_KEYWORD)
        (settings,) = get_args(handed_on.annotation)
        further = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=defaults[name], annotation=kind)
            for name, kind in get_type_hints(settings).items()
        ]
        told: Any = function
        told.__signature__ = own.replace(parameters=[*named, *further])
        return function

    return tell
