"""Whether a saved optimizer state fits: torch's `load_state_dict` takes wrong shapes silently."""

from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

_LIKE_PARAMETER = frozenset(
    {
        "acc_delta",
        "exp_avg",
        "exp_avg_sq",
        "exp_inf",
        "grad_avg",
        "max_exp_avg_sq",
        "momentum_buffer",
        "prev",
        "square_avg",
        "sum",
    }
)
"""State of torch's optimizers, and ours, that has the shape of its parameter."""
_HYPERS = ("lr", "betas", "momentum", "alpha", "eps", "weight_decay")
_MOST = 8  # faults named in a message


def check_state(opt_state: Any, opt: Optimizer, model: nn.Module) -> None:
    """Raise a `ValueError` that lists what differs, unless `opt_state` can be loaded into `opt`.

    >>> import torch
    >>> small, large = nn.Linear(2, 1), nn.Linear(3, 1)
    >>> saved = torch.optim.SGD(large.parameters(), momentum=0.9)
    >>> large(torch.ones(1, 3)).sum().backward()
    >>> saved.step()
    >>> check_state(saved.state_dict(), torch.optim.SGD(small.parameters(), momentum=0.9), small)
    Traceback (most recent call last):
    ...
    ValueError: the saved optimizer does not fit:
      `momentum_buffer` of `weight`: expected (1, 2), got (1, 3)
    """
    if not isinstance(opt_state, dict) or not {"state", "param_groups"} <= set(opt_state):
        raise ValueError(
            "what was saved is not the state of an optimizer; it lacks `state` or `param_groups`"
        )
    saved: list[dict[str, Any]] = opt_state["param_groups"]
    faults = _group_faults(saved, opt)
    if not faults:  # else it is unknown which tensor is whose
        faults = _shape_faults(saved, opt_state["state"], opt, model)
    if faults:
        more = [f"and {len(faults) - _MOST} more"] if len(faults) > _MOST else []
        raise ValueError(
            "the saved optimizer does not fit:\n  " + "\n  ".join(faults[:_MOST] + more)
        )


def drop_unfinished(opt: Optimizer) -> None:
    """Forget states that were being made when a step broke off, which torch would take for whole.

    >>> import torch
    >>> opt = torch.optim.Adam([torch.zeros(1)])
    >>> opt.state[opt.param_groups[0]["params"][0]]["step"] = torch.tensor(0.0)
    >>> drop_unfinished(opt)
    >>> len(opt.state)
    0
    """
    for parameter, values in list(opt.state.items()):
        step = values.get("step")
        if step is not None and not float(step):  # it counts from 1
            del opt.state[parameter]


def _group_faults(saved: list[dict[str, Any]], opt: Optimizer) -> list[str]:
    keyed = all("layer_group" in group for group in saved)  # else an optimizer made elsewhere
    expected, got = _sizes(opt.param_groups, keyed=keyed), _sizes(saved, keyed=keyed)
    what = "layer group" if keyed else "group"
    if len(expected) != len(got):
        return [f"{what}s: expected {len(expected)}, got {len(got)}; was the `splitter` the same?"]
    faults = [
        f"parameters in {what} {i}: expected {n}, got {m}"
        for i, (n, m) in enumerate(zip(expected, got, strict=True))
        if n != m
    ]
    lacking = [
        f"`{key}`"
        for key in _HYPERS
        if key in opt.param_groups[0] and any(key not in g for g in saved)
    ]
    if lacking:
        faults.append(
            f"hyper-parameters: expected those of `{type(opt).__name__}`, got groups "
            f"without {', '.join(lacking)}; use the same `opt_func`, "
            "or load without the optimizer (`with_opt=False`)"
        )
    return faults


def _shape_faults(
    saved: list[dict[str, Any]], state: dict[Any, Any], opt: Optimizer, model: nn.Module
) -> list[str]:
    names = {id(p): f"`{name}`" for name, p in model.named_parameters()}
    params = [p for group in opt.param_groups for p in group["params"]]
    keys = [key for group in saved for key in group["params"]]
    faults: list[str] = []
    for i, (key, p) in enumerate(zip(keys, params, strict=True)):
        for what, value in state.get(key, {}).items():
            expected = _shape(what, p, opt)
            if isinstance(value, Tensor) and expected is not None and value.shape != expected:
                name = names.get(id(p), f"parameter {i}")
                faults.append(
                    f"`{what}` of {name}: expected {tuple(expected)}, got {tuple(value.shape)}"
                )
    return faults


def _shape(what: str, p: Tensor, opt: Optimizer) -> Any:
    """The shape that this state of `p` must have; None where it cannot be known."""
    ours = opt.state.get(p, {}).get(what)
    if isinstance(ours, Tensor):
        return ours.shape
    return p.shape if what in _LIKE_PARAMETER else None


def _sizes(groups: list[dict[str, Any]], *, keyed: bool) -> list[int]:
    """How many parameters each layer group has; a layer group may be two of torch's groups."""
    sizes: dict[int, int] = {}
    for i, group in enumerate(groups):
        at = group.get("layer_group", i) if keyed else i
        sizes[at] = sizes.get(at, 0) + len(group["params"])
    return [sizes[at] for at in sorted(sizes)]
