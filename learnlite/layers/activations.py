"""Activations, and which of them a plain name can stand for."""

import difflib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from torch import nn

T = TypeVar("T")

Activation: TypeAlias = Callable[[], nn.Module]
"""Makes an activation: `nn.ReLU`, `Mish`, `partial(nn.LeakyReLU, 0.1)`."""

Mish = nn.Mish
Swish = nn.SiLU

ACTIVATIONS: dict[str, Activation] = {
    "CELU": nn.CELU,
    "ELU": nn.ELU,
    "GELU": nn.GELU,
    "Hardswish": nn.Hardswish,
    "LeakyReLU": nn.LeakyReLU,
    "Mish": nn.Mish,
    "PReLU": nn.PReLU,
    "ReLU": nn.ReLU,
    "ReLU6": nn.ReLU6,
    "SELU": nn.SELU,
    "SiLU": nn.SiLU,
    "Sigmoid": nn.Sigmoid,
    "Tanh": nn.Tanh,
    "Swish": nn.SiLU,  # its first name
}
"""What `act_cls` may be called in a recipe, which holds no classes."""


def named(value: Any, table: Mapping[str, T], argument: str) -> T:
    """What `value` stands for: a name of the table, or, not being a string, `value` itself.

    >>> named("Mish", ACTIVATIONS, "act_cls") is Mish
    True
    >>> named("Mich", ACTIVATIONS, "act_cls")
    Traceback (most recent call last):
    ValueError: `act_cls` is 'Mich', which is no name known here; did you mean `Mish`?
    """
    if not isinstance(value, str):
        return value
    if value not in table:
        lower = {name.lower(): name for name in table}
        close = difflib.get_close_matches(value.lower(), lower, 1)
        advice = f"did you mean `{lower[close[0]]}`?" if close else f"known are {', '.join(table)}"
        raise ValueError(f"`{argument}` is {value!r}, which is no name known here; {advice}")
    return table[value]


def name_of(value: Any, table: Mapping[str, Any]) -> Any:
    """The first name that stands for `value` in the table, or `value` itself if none does.

    >>> name_of(Swish, ACTIVATIONS)
    'SiLU'
    """
    return next((name for name, found in table.items() if found is value), value)
