"""A plain optimizer of `torch.optim` out of a model, its layer groups and an `opt_func`."""

import functools
import inspect
from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn
from torch.optim import LBFGS, Optimizer

from learnlite.optim.decay import Group, match_groups, own_tensors, split_decay
from learnlite.optim.groups import checked_groups, norm_or_bias_parameters
from learnlite.optim.hyper import get_hyper, hyper_names, set_hyper, spread_lr
from learnlite.optim.strides import align_state
from learnlite.types import OptFunc


def make_optimizer(
    opt_func: OptFunc,
    model: nn.Module,
    layer_groups: Sequence[Iterable[nn.Parameter]],
    *,
    lr: Any = None,
    wd: Any = None,
    wd_bn_bias: bool = False,
) -> Optimizer:
    """Call `opt_func` once with the layer groups; `lr` and `wd` are its own if not given.

    All parameters go in, the frozen too, so that unfreezing needs no new optimizer. Norm layers and
    biases do not decay, unless `wd_bn_bias`. `opt_func` gets `lr=` only if it takes it.

    >>> import torch
    >>> model = nn.Linear(2, 1)
    >>> opt = make_optimizer(torch.optim.AdamW, model, [list(model.parameters())], lr=0.1)
    >>> [(group["lr"], group["weight_decay"]) for group in opt.param_groups]
    [(0.1, 0.01), (0.1, 0.0)]
    """
    _check_opt_func(opt_func)
    groups = checked_groups(model, layer_groups)
    rates = None if lr is None else spread_lr(lr, len(groups))
    parts = _torch_groups(groups, norm_or_bias_parameters(model), wd_bn_bias=wd_bn_bias)
    takes_lr, needs_lr = _asks_for_lr(opt_func)
    if rates is None and needs_lr:
        raise ValueError(
            f"`{_name(opt_func)}` needs a learning rate and has none of its own; pass `lr=…`"
        )
    opt: Any = opt_func(parts, lr=rates[-1]) if rates and takes_lr else opt_func(parts)
    if not isinstance(opt, Optimizer):
        raise TypeError(
            f"`{_name(opt_func)}` gives a {type(opt).__name__}, not an optimizer of `torch.optim`"
        )
    _refuse_closure(type(opt))
    for i, group in enumerate(opt.param_groups):
        for key, value in (("layer_group", i), ("decay", True), ("n_decay", len(group["params"]))):
            group.setdefault(key, value)
        if not group["decay"] and "weight_decay" in group:
            group["weight_decay"] = 0.0
    own_tensors(opt)
    opt.register_load_state_dict_pre_hook(match_groups)
    opt.register_load_state_dict_post_hook(align_state)
    if rates is not None:
        set_hyper(opt, "lr", rates)
    if wd is not None:
        set_hyper(opt, "wd", wd)
    elif "wd" in hyper_names(opt):
        for i, decay in enumerate(get_hyper(opt, "wd")):
            if decay:
                split_decay(opt, i)
    return opt


def _torch_groups(
    groups: list[list[nn.Parameter]], undecayed: set[int], *, wd_bn_bias: bool
) -> list[Group]:
    """One of torch's groups for each layer group; what must not decay stands last in it."""
    made: list[Group] = []
    for i, group in enumerate(groups):
        params = sorted(group, key=lambda p: id(p) in undecayed)  # stable: else the order stays
        n_decay = len(params) if wd_bn_bias else sum(id(p) not in undecayed for p in params)
        made.append(
            {
                "params": params,
                "layer_group": i,
                "decay": n_decay > 0 or not params,
                "n_decay": n_decay,
            }
        )
    return made


def _asks_for_lr(opt_func: OptFunc) -> tuple[bool, bool]:
    """Whether `opt_func` takes `lr=`, and whether it cannot do without."""
    try:
        parameters = inspect.signature(opt_func).parameters
    except (TypeError, ValueError):  # made in C, without a signature
        return True, False
    lr = parameters.get("lr")
    if lr is None or lr.kind is lr.POSITIONAL_ONLY:
        return any(p.kind is p.VAR_KEYWORD for p in parameters.values()), False
    return True, lr.default is lr.empty


def _check_opt_func(opt_func: Any) -> None:
    if isinstance(opt_func, Optimizer):
        kind = type(opt_func).__name__
        raise TypeError(
            f"`opt_func` makes an optimizer from layer groups, got one that is made; "
            f"pass `{kind}` itself, or `partial({kind}, …)` with its settings"
        )
    if not callable(opt_func):
        raise TypeError(
            f"`opt_func` must be an optimizer class or a function that makes one, got {opt_func!r}"
        )
    inner: Any = opt_func
    while isinstance(inner, functools.partial):
        inner = inner.func
    if isinstance(inner, type):
        _refuse_closure(inner)


def _refuse_closure(kind: type) -> None:
    if issubclass(kind, LBFGS):
        raise ValueError(
            f"`{kind.__name__}` needs a closure that computes the loss several times a step, "
            "which the fit loop does not give; take `Adam` or `SGD`, or write a loop for it"
        )


def _name(opt_func: Any) -> str:
    while isinstance(opt_func, functools.partial):
        opt_func = opt_func.func
    return getattr(opt_func, "__name__", type(opt_func).__name__)
