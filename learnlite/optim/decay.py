"""Weight decay for a part of a layer group: two of torch's groups where it is on, else one.

Each of torch's groups says in plain keys where it belongs: `layer_group`, its index; `decay`,
whether weight decay may touch it; `n_decay`, how many of its parameters decay: those stand first.
So a group is split by a cut and joined again without a change in the order of parameters, by which
optimizer states are saved; and the state itself is kept by parameter, so it does not notice.
"""

from typing import Any, TypeAlias

from torch import Tensor
from torch.optim import Optimizer

Group: TypeAlias = dict[str, Any]
"""One of torch's groups: `params` and their hyper-parameters."""

KEYS = ("layer_group", "decay", "n_decay")


def layer_group_of(opt: Optimizer) -> list[list[Group]]:
    """Torch's groups of each layer group, in order.

    >>> from torch import nn
    >>> from learnlite.optim import make_optimizer, Adam
    >>> model = nn.Linear(2, 1)
    >>> opt = make_optimizer(Adam, model, [list(model.parameters())])
    >>> [[group["decay"] for group in groups] for groups in layer_group_of(opt)]
    [[True, False]]
    """
    return list(_by_layer_group(opt.param_groups).values())


def split_decay(opt: Optimizer, i: int) -> None:
    """Put the parameters of layer group `i` that do not decay into a group of their own, if any."""
    groups: list[Group] = []
    for k, group in enumerate(opt.param_groups):
        groups.append(group)
        n_decay, params = group.get("n_decay", len(group["params"])), group["params"]
        if group.get("layer_group", k) == i and group.get("decay", True) and n_decay < len(params):
            group["params"] = params[:n_decay]
            rest = {key: _own(value) for key, value in group.items()}
            groups.append(
                rest
                | {"params": params[n_decay:], "decay": False, "n_decay": 0, "weight_decay": 0.0}
            )
    if len(groups) > len(opt.param_groups):
        opt.param_groups = (
            groups  # a new list: who resolved names on the old one sees that it is stale
        )


def match_groups(opt: Optimizer, state: dict[str, Any]) -> dict[str, Any] | None:
    """Split or join the groups of `opt` as those of the state that is to be loaded are.

    `make_optimizer` hooks it into the optimizer's `load_state_dict`. A state without our keys, from
    an optimizer made elsewhere, gets them if its groups have the sizes of ours.
    """
    saved = state["param_groups"]
    if not all("layer_group" in group for group in saved):
        if [len(group["params"]) for group in saved] != [
            len(group["params"]) for group in opt.param_groups
        ]:
            return None  # torch refuses it
        ours = [{key: group[key] for key in KEYS if key in group} for group in opt.param_groups]
        return state | {
            "param_groups": [theirs | keys for theirs, keys in zip(saved, ours, strict=True)]
        }
    for i, theirs in _by_layer_group(saved).items():
        parts = _by_layer_group(opt.param_groups).get(i, [])
        if len(theirs) == 2 and len(parts) == 1:
            parts[0]["n_decay"] = len(theirs[0]["params"])
            split_decay(opt, i)
        elif len(theirs) == 1 and len(parts) == 2:
            parts[0]["params"] = parts[0]["params"] + parts[1]["params"]
            opt.param_groups = [group for group in opt.param_groups if group is not parts[1]]
    return None


def own_tensors(opt: Optimizer) -> None:
    """Give each group its own copy of hyper-parameters that are tensors: they are set in place."""
    for group in opt.param_groups:
        for key, value in group.items():
            group[key] = _own(value)


def _by_layer_group(groups: list[Group]) -> dict[int, list[Group]]:
    found: dict[int, list[Group]] = {}
    for i, group in enumerate(groups):
        found.setdefault(group.get("layer_group", i), []).append(group)
    return dict(sorted(found.items()))


def _own(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().clone()
    return tuple(_own(inner) for inner in value) if isinstance(value, tuple) else value
