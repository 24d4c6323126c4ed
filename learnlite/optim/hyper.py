"""Hyper-parameters by name, on any optimizer of `torch.optim`: one value for each layer group.

`mom` is the momentum or the first of the betas, `sqr_mom` (or `beta2`) the second or RMSprop's
alpha, `wd` the weight decay; any other number in the optimizer's groups goes by its own name.
"""

import difflib
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from learnlite.optim.decay import KEYS, Group, layer_group_of, split_decay

_ALIASES = {
    "beta1": "mom",
    "momentum": "mom",
    "beta2": "sqr_mom",
    "alpha": "sqr_mom",
    "weight_decay": "wd",
}
_NOT_HYPER = frozenset({"params", "initial_lr", *KEYS})


class _Field(NamedTuple):
    """Where a hyper-parameter lies in a group: under `key`, and there at `place` if in a tuple."""

    key: str
    place: int | None = None


def hyper_names(opt: Optimizer) -> list[str]:
    """The names of the hyper-parameters that `opt` has.

    >>> hyper_names(torch.optim.AdamW([torch.zeros(1)]))
    ['lr', 'mom', 'sqr_mom', 'wd', 'eps']
    """
    return list(_fields(opt.param_groups[0]))


def get_hyper(opt: Optimizer, name: str) -> list[float]:
    """The values of a hyper-parameter, one for each layer group.

    >>> get_hyper(torch.optim.AdamW([torch.zeros(1)]), "mom")
    [0.9]
    """
    field = _field(opt, name)
    return [float(_value(groups[0], field)) if groups else 0.0 for groups in _targets(opt, field)]


def set_hyper(opt: Optimizer, name: str, value: Any) -> None:
    """Set a hyper-parameter: one value for all layer groups, one for each, or a slice.

    A slice is spread as by `spread_lr`. Weight decay leaves the groups of norm layers and biases
    alone.

    >>> opt = torch.optim.AdamW([torch.zeros(1)])
    >>> set_hyper(opt, "beta2", 0.95)
    >>> opt.param_groups[0]["betas"]
    (0.9, 0.95)
    """
    field = _field(opt, name)
    values = _spread(value, len(layer_group_of(opt)), name)
    _check_range(name, field, values)
    if field.key == "weight_decay":
        for i, wd in enumerate(values):
            if wd:
                split_decay(opt, i)
    _write(_targets(opt, field), field, values)


def check_value(opt: Optimizer, name: str, value: Any) -> None:
    """Raise a ValueError if `set_hyper` would; nothing is set."""
    field = _field(opt, name)
    _check_range(name, field, _spread(value, len(layer_group_of(opt)), name))


def hyper_setter(opt: Optimizer, name: str) -> Callable[[Any], None]:
    """A function that sets a hyper-parameter, fast enough for every batch.

    It takes a number, or one for each layer group. The name is looked up once, and again when the
    groups were replaced, as loading a state does.

    >>> opt = torch.optim.SGD([torch.zeros(1)], lr=0.1)
    >>> set_lr = hyper_setter(opt, "lr")
    >>> set_lr(0.05)
    >>> opt.param_groups[0]["lr"]
    0.05
    """
    field = _field(opt, name)
    key, place = field
    if key == "weight_decay":
        for i in range(len(layer_group_of(opt))):
            split_decay(opt, i)
    known: list[Group] | None = None
    targets: list[list[Group]] = []
    plain: list[Group] | None = None  # the groups to write to, if all hold plain numbers

    def set_values(value: Any) -> None:
        nonlocal known, targets, plain
        if opt.param_groups is not known:
            known, targets = opt.param_groups, _targets(opt, field)
            groups = [group for parts in targets for group in parts]
            plain = (
                None
                if any(isinstance(_value(group, field), Tensor) for group in groups)
                else groups
            )
        if plain is None or type(value) is not float:
            _write(targets, field, _per_group(value, len(targets), name))
        elif place is None:
            for group in plain:
                group[key] = value
        elif place == 0:
            for group in plain:
                group[key] = (value, group[key][1])
        else:
            for group in plain:
                group[key] = (group[key][0], value)

    return set_values


def hyper_reader(opt: Optimizer, name: str) -> Callable[[], float]:
    """A function that reads a hyper-parameter of the last layer group, fast enough for every batch.

    >>> hyper_reader(torch.optim.AdamW([torch.zeros(1)]), "sqr_mom")()
    0.999
    """
    field = _field(opt, name)
    key, place = field
    known: list[Group] | None = None
    last: Group = {}

    def read() -> float:
        nonlocal known, last
        if opt.param_groups is not known:
            known = opt.param_groups
            last = next(
                (groups[0] for groups in reversed(_targets(opt, field)) if groups), known[-1]
            )
        value = last[key] if place is None else last[key][place]
        return (
            value if type(value) is float else float(value)
        )  # host sync: only of a tensor on the device

    return read


def spread_lr(lr: Any, n_groups: int) -> list[float]:
    """A learning rate for each layer group, out of one, one for each, or a slice.

    `slice(a, b)` goes from a to b by equal factors; `slice(b)` is b for the last, b/10 for others.

    >>> [round(lr, 6) for lr in spread_lr(slice(1e-4, 1e-2), 3)], spread_lr(slice(0.5), 3)
    ([0.0001, 0.001, 0.01], [0.05, 0.05, 0.5])
    """
    return _spread(lr, n_groups, "lr")


def _spread(value: Any, n: int, name: str) -> list[float]:
    if not isinstance(value, slice):
        return _per_group(value, n, name)
    start, stop = value.start, value.stop
    if stop is None or stop <= 0 or (start is not None and start < 0):
        raise ValueError(
            f"`{name}` as a slice is `slice(first, last)` or `slice(last)` with values above 0, "
            f"got {value}"
        )
    if n == 1:
        shown = f"slice({stop})" if start is None else f"slice({start}, {stop})"
        warnings.warn(
            f"`{name}` is {shown}, which spreads over layer groups, but there is one: "
            f"it gets {float(stop):g}; pass a `splitter` that makes several, or one number",
            UserWarning,
            stacklevel=4,
        )
        return [float(stop)]
    if not start:
        return [float(stop) / 10] * (n - 1) + [float(stop)]
    step = (stop / start) ** (1 / (n - 1))
    return [*(float(start * step**i) for i in range(n - 1)), float(stop)]


def _per_group(value: Any, n: int, name: str) -> list[float]:
    if isinstance(value, str | bytes):
        raise TypeError(f"`{name}` is a number, got {value!r}")
    if isinstance(value, np.ndarray | Tensor):
        value = value.tolist()
    if not isinstance(value, Sequence):
        return [float(value)] * n
    values = [float(one) for one in value]
    if len(values) == 1:
        return values * n
    if len(values) != n:
        raise ValueError(
            f"got {len(values)} values of `{name}` for {n} layer groups; give one, or one for each"
        )
    return values


def _check_range(name: str, field: _Field, values: list[float]) -> None:
    """What torch checks only where an optimizer is made."""
    for value in values:
        if field.place is not None and not 0 <= value < 1:
            raise ValueError(f"`{name}` must be at least 0 and below 1, got {value}")
        if field.key in ("lr", "weight_decay", "momentum") and not 0 <= value < math.inf:
            raise ValueError(f"`{name}` must be at least 0 and finite, got {value}")


def _fields(group: Group) -> dict[str, _Field]:
    """Where in a group each hyper-parameter lies, by our names."""
    betas = group.get("betas")
    pair = isinstance(betas, tuple | list) and len(betas) == 2 and all(map(_is_number, betas))
    candidates = {
        "lr": _Field("lr"),
        "mom": _Field("betas", 0) if pair else _Field("momentum"),
        "sqr_mom": _Field("betas", 1) if pair else _Field("alpha"),
        "wd": _Field("weight_decay"),
    }
    if "lambd" in group:
        del candidates["sqr_mom"]  # the alpha of averaged SGD is another thing
    found = {
        name: field
        for name, field in candidates.items()
        if field.place is not None or _is_number(group.get(field.key))
    }
    used = {field.key for field in found.values()}
    others = (
        key for key, value in group.items() if key not in _NOT_HYPER | used and _is_number(value)
    )
    return found | {key: _Field(key) for key in others}


def _field(opt: Optimizer, name: str) -> _Field:
    fields = _fields(opt.param_groups[0])
    field = fields.get(name) or fields.get(_ALIASES.get(name, ""))
    if field is None:
        close = difflib.get_close_matches(name, [*fields, *_ALIASES], 1, 0.6)
        near = _ALIASES.get(close[0], close[0]) if close else ""
        hint = f"did you mean `{near}`? " if near in fields else ""
        there = ", ".join(f"`{known}`" for known in fields)
        raise ValueError(
            f"`{name}` is not a hyper-parameter of `{type(opt).__name__}`; {hint}it has {there}"
        )
    return field


def _is_number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.numel() == 1
    return isinstance(value, float | int) and not isinstance(value, bool)


def _value(group: Group, field: _Field) -> Any:
    value = group[field.key]
    return value if field.place is None else value[field.place]


def _targets(opt: Optimizer, field: _Field) -> list[list[Group]]:
    """The groups to write to, for each layer group: for weight decay only those that may decay."""
    if field.key != "weight_decay":
        return layer_group_of(opt)
    return [
        [group for group in groups if group.get("decay", True)] for groups in layer_group_of(opt)
    ]


def _write(targets: list[list[Group]], field: _Field, values: list[float]) -> None:
    key, place = field
    for groups, value in zip(targets, values, strict=True):
        for group in groups:
            old = _value(group, field)
            if isinstance(old, Tensor):  # a captured or compiled step reads this very tensor
                with torch.no_grad():
                    old.fill_(value)
            elif place is None:
                group[key] = value
            else:
                group[key] = tuple(
                    value if i == place else other for i, other in enumerate(group[key])
                )
