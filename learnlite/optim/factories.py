"""Torch's optimizers with fastai's argument names and defaults, fused where torch can.

A fused step is one kernel over all parameters; it gives the result of the plain one up to rounding.
`fused=None` takes it if the device and the dtype of every parameter allow it.
"""

from collections.abc import Iterable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.optim import Optimizer

Params: TypeAlias = Iterable[Any]
"""Parameters, (name, parameter) pairs, torch's group dicts, or lists of parameters as groups."""

_FUSED_DEVICES = frozenset({"cpu", "cuda", "mps", "xpu"})


def Adam(  # noqa: N802  # the name that users know
    params: Params,
    lr: float | Tensor = 1e-3,
    mom: float = 0.9,
    sqr_mom: float = 0.99,
    eps: float = 1e-5,
    wd: float = 0.01,
    decouple_wd: bool = True,
    *,
    amsgrad: bool = False,
    maximize: bool = False,
    capturable: bool = False,
    fused: bool | None = None,
) -> Optimizer:
    """Adam with decoupled weight decay (AdamW), or with L2 in the gradient if not `decouple_wd`.

    >>> opt = Adam(torch.nn.Linear(2, 1).parameters(), lr=3e-3)
    >>> type(opt).__name__, opt.param_groups[0]["betas"], opt.param_groups[0]["weight_decay"]
    ('AdamW', (0.9, 0.99), 0.01)
    """
    groups = as_groups(params)
    kind = torch.optim.AdamW if decouple_wd else torch.optim.Adam
    return kind(
        groups,
        lr=lr,
        betas=(mom, sqr_mom),
        eps=eps,
        weight_decay=wd,
        amsgrad=amsgrad,
        maximize=maximize,
        capturable=capturable,
        fused=_fusible(groups) if fused is None else fused,
    )


def SGD(  # noqa: N802
    params: Params,
    lr: float | Tensor = 1e-3,
    mom: float = 0.0,
    wd: float = 0.0,
    *,
    nesterov: bool = False,
    maximize: bool = False,
    fused: bool | None = None,
) -> Optimizer:
    """Torch's SGD: its weight decay is L2, added to the gradient and so to the momentum.

    fastai's is decoupled; without momentum the two are the same. Gradients that are sparse
    (`nn.Embedding(sparse=True)`) need `fused=False`.

    >>> SGD(torch.nn.Linear(2, 1).parameters(), lr=0.1, mom=0.9).param_groups[0]["momentum"]
    0.9
    """
    groups = as_groups(params)
    return torch.optim.SGD(
        groups,
        lr=lr,
        momentum=mom,
        weight_decay=wd,
        nesterov=nesterov,
        maximize=maximize,
        fused=_fusible(groups) if fused is None else fused,
    )


def RAdam(  # noqa: N802
    params: Params,
    lr: float | Tensor = 1e-3,
    mom: float = 0.9,
    sqr_mom: float = 0.99,
    eps: float = 1e-5,
    wd: float = 0.0,
    decouple_wd: bool = True,
    *,
    maximize: bool = False,
    capturable: bool = False,
) -> Optimizer:
    """Adam whose first steps are short until its averages are worth something; needs no warm-up.

    >>> RAdam(torch.nn.Linear(2, 1).parameters()).param_groups[0]["decoupled_weight_decay"]
    True
    """
    return torch.optim.RAdam(
        as_groups(params),
        lr=lr,
        betas=(mom, sqr_mom),
        eps=eps,
        weight_decay=wd,
        decoupled_weight_decay=decouple_wd,
        maximize=maximize,
        capturable=capturable,
    )


def RMSProp(  # noqa: N802
    params: Params,
    lr: float | Tensor = 1e-2,
    mom: float = 0.0,
    sqr_mom: float = 0.99,
    eps: float = 1e-8,
    wd: float = 0.0,
    *,
    centered: bool = False,
    maximize: bool = False,
    capturable: bool = False,
) -> Optimizer:
    """Torch's RMSprop: weight decay is L2, and momentum averages the steps, not the gradients.

    >>> RMSProp(torch.nn.Linear(2, 1).parameters()).param_groups[0]["alpha"]
    0.99
    """
    return torch.optim.RMSprop(
        as_groups(params),
        lr=lr,
        alpha=sqr_mom,
        eps=eps,
        weight_decay=wd,
        momentum=mom,
        centered=centered,
        maximize=maximize,
        capturable=capturable,
    )


def as_groups(params: Params) -> list[Any]:
    """`params` as torch takes them: a list that can be looked at twice."""
    groups: list[Any] = list(params)
    if groups and all(isinstance(group, list) for group in groups):
        return [{"params": group} for group in groups]
    return [
        {**group, "params": _listed(group["params"])} if isinstance(group, dict) else group
        for group in groups
    ]


def _listed(params: Any) -> list[Any]:
    return [params] if isinstance(params, Tensor) else list(params)


def _fusible(groups: list[Any]) -> bool | None:
    """True if torch has a fused kernel for every parameter; None leaves the choice to torch."""
    given = [
        p for group in groups for p in (group["params"] if isinstance(group, dict) else [group])
    ]
    params = [p[1] if isinstance(p, tuple) else p for p in given]
    fits = all(
        isinstance(p, Tensor) and p.is_floating_point() and p.device.type in _FUSED_DEVICES
        for p in params
    )
    return True if fits and params else None
