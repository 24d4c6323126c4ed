"""Layer groups: how a model's parameters are divided, which are frozen, which do not decay."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]  # every batch and instance norm

from learnlite.types import Splitter

ALL = "all layers"
HEAD = "the head"

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def default_splitter(model: nn.Module) -> list[list[nn.Parameter]]:
    """All parameters in one layer group.

    >>> [len(group) for group in default_splitter(nn.Linear(2, 1))]
    [2]
    """
    return [list(model.parameters())]


def layer_groups(
    model: nn.Module, splitter: Splitter = default_splitter
) -> list[list[nn.Parameter]]:
    """The parameters in the groups that `splitter` makes, the body first; each parameter once.

    A group is a module, a list of modules or of parameters, or a nesting of these; a flat list of
    parameters is one group. A parameter shared by modules of two groups belongs to the first.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    >>> def body_and_head(model):
    ...     return [model[0], [model[1].weight, model[1].bias]]
    >>> [len(group) for group in layer_groups(model, body_and_head)]
    [2, 2]
    """
    made: Any = splitter(_plain(model))
    if isinstance(made, nn.Module | Tensor) or not isinstance(made, Iterable):
        made = [made]
    parts: list[Any] = list(made)
    if parts and all(isinstance(part, Tensor) for part in parts):
        parts = [parts]
    groups = [list(_flat(part)) for part in parts]
    return checked_groups(model, groups)


def checked_groups(
    model: nn.Module, groups: Sequence[Iterable[nn.Parameter]]
) -> list[list[nn.Parameter]]:
    """`groups` without repetitions, once it is sure that they hold each parameter of the model."""
    names: dict[int, list[str]] = {}
    for name, p in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(p), []).append(name)
    if not names:
        raise ValueError(
            f"the model, a `{type(model).__name__}`, has no parameters; there is nothing to train"
        )
    home: dict[int, int] = {}
    twice: list[str] = []
    unique: list[list[nn.Parameter]] = []
    for i, group in enumerate(groups):
        unique.append([])
        for p in group:
            first = home.setdefault(id(p), i)
            if first == i:
                unique[i].append(p)
            elif len(names.get(id(p), ())) < 2:  # one name, so it is not shared by two modules
                twice.append(f"{_name(names, p)} (groups {first} and {i})")
        unique[i] = list({id(p): p for p in unique[i]}.values())
    if twice:
        raise ValueError(
            f"a parameter belongs to one layer group, but the splitter gives twice: {_some(twice)}"
        )
    forgotten = [f"`{given[0]}`" for key, given in names.items() if key not in home]
    if forgotten:
        raise ValueError(
            f"the splitter leaves out {len(forgotten)} of {len(names)} parameters: "
            f"{_some(forgotten)}; put each into a layer group (frozen ones too)"
        )
    return unique


def freeze_to(
    layer_groups: Sequence[Sequence[nn.Parameter]],
    n: int,
    model: nn.Module,
    *,
    train_bn: bool = True,
) -> None:
    """Freeze the layer groups before `n` and train the others; a negative `n` counts from the end.

    With `train_bn` the parameters of norm layers train in frozen groups too. The optimizer keeps
    all parameters, so freezing needs no new one.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    >>> freeze_to(layer_groups(model, lambda model: [model[:2], model[2]]), -1, model)
    >>> [name for name, p in model.named_parameters() if p.requires_grad]
    ['1.weight', '1.bias', '2.weight', '2.bias']
    """
    count = len(layer_groups)
    if n < 0 and count == 1:
        raise ValueError(
            "the model has one layer group, so there is no body to freeze; pass a `splitter` that "
            "makes several, for example `splitter=lambda model: [model.body, model.head]`"
        )
    if not -count <= n <= count:
        raise ValueError(
            f"the model has {count} layer groups, so `n` must be between {-count} and {count}, "
            f"got {n}"
        )
    first = n if n >= 0 else count + n
    kept = norm_parameters(model) if train_bn else set[int]()
    for i, group in enumerate(layer_groups):
        for p in group:
            if p.is_floating_point() or p.is_complex():
                p.requires_grad_(i >= first or id(p) in kept)


def trainable(params: Iterable[nn.Parameter]) -> list[nn.Parameter]:
    """Those that are not frozen.

    >>> layer = nn.Linear(2, 1)
    >>> _ = layer.bias.requires_grad_(False)
    >>> len(trainable(layer.parameters()))
    1
    """
    return [p for p in params if p.requires_grad]


def what_trains(model: nn.Module, layer_groups: Sequence[Sequence[nn.Parameter]]) -> str:
    """Which layers are not frozen: all, the head (the last group), or so many groups.

    Norm layers say nothing of it, as they train in frozen groups too.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    >>> groups = layer_groups(model, lambda model: [model[:2], model[2]])
    >>> what_trains(model, groups)
    'all layers'
    >>> freeze_to(groups, -1, model)
    >>> what_trains(model, groups)
    'the head'
    """
    norms = norm_parameters(model)
    kept = [[p for p in group if id(p) not in norms] for group in layer_groups]
    free = [all(p.requires_grad for p in group) for group in kept if group]
    if all(free):
        return ALL
    if free[-1] and not any(free[:-1]):
        return HEAD
    return f"{sum(free)} of {len(free)} layer groups"


def norm_parameters(model: nn.Module) -> set[int]:
    """The `id` of every parameter of a norm layer.

    A norm layer is any of torch's (batch, sync batch, instance, group, layer, RMS) or a module
    whose class is called `…Norm`, with or without a number of dimensions, and whose parameters are
    vectors.

    >>> len(norm_parameters(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2))))
    2
    """
    return {
        id(p)
        for module in model.modules()
        if _is_norm(module)
        for p in module.parameters(recurse=False)
    }


def norm_or_bias_parameters(model: nn.Module) -> set[int]:
    """The `id` of every parameter that weight decay leaves alone: of norm layers, and all biases.

    A bias is a parameter called `bias`, `…_bias` or `bias_…` (attention and recurrent layers name
    theirs so). Other vectors decay, as they do in fastai.

    >>> model = nn.LSTM(2, 3)
    >>> undecayed = norm_or_bias_parameters(model)
    >>> sorted(name for name, p in model.named_parameters() if id(p) in undecayed)
    ['bias_hh_l0', 'bias_ih_l0']
    """
    biases = {id(p) for name, p in model.named_parameters(remove_duplicate=False) if _is_bias(name)}
    return norm_parameters(model) | biases


def _is_norm(module: nn.Module) -> bool:
    if isinstance(module, _NORMS):
        return True
    called_norm = type(module).__name__.rstrip("123d").endswith("Norm")
    return called_norm and all(p.ndim <= 1 for p in module.parameters(recurse=False))


def _is_bias(name: str) -> bool:
    last = name.rpartition(".")[2]
    return last == "bias" or last.endswith("_bias") or last.startswith("bias_")


def _plain(model: nn.Module) -> nn.Module:
    """The model itself where it is compiled, which has neither its parts nor their order."""
    inner = vars(model).get("_modules", {}).get("_orig_mod")
    return model if inner is None else inner


def _flat(part: Any) -> Iterator[nn.Parameter]:
    if isinstance(part, nn.Module):
        yield from part.parameters()
    elif isinstance(part, Tensor):
        yield part  # type: ignore[misc]  # any tensor can be optimized
    elif isinstance(part, Iterable) and not isinstance(part, str | bytes | dict):
        for inner in part:
            yield from _flat(inner)
    else:
        raise TypeError(f"the splitter gives groups of parameters or modules, got {part!r} in one")


def _name(names: dict[int, list[str]], p: Tensor) -> str:
    return f"`{names[id(p)][0]}`" if id(p) in names else f"a tensor of shape {tuple(p.shape)}"


def _some(names: list[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
