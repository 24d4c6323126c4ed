"""A learner's state: to a file and back, whole or not at all; or kept in memory for a while."""

import copy
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from learnlite.replace import replacing

_COMPILED = "_orig_mod."  # what `torch.compile(model)` puts before the names of the weights


def write(path: Path, state: Any) -> None:
    """Save `state` to `path`, whole or not at all: see `replacing`."""
    with replacing(path) as file:
        torch.save(state, file)


def read(path: Path, device: torch.device | str | None = None) -> Any:
    """Load what `write` saved; only tensors and plain values come out of a file, never code."""
    if not path.is_file():
        there = (
            sorted(p.stem for p in path.parent.glob(f"*{path.suffix}"))
            if path.parent.is_dir()
            else []
        )
        raise FileNotFoundError(
            f"there is no file {path}; in its folder: {', '.join(there) or 'nothing saved'}"
        )
    try:
        return torch.load(path, map_location=device, weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} does not load as weights ({type(error).__name__}); it is damaged, "
            "or it holds more than tensors and plain values, which is refused because loading it "
            "could run its code"
        ) from error


def weights_of(model: nn.Module) -> dict[str, Any]:
    """The weights by name, the same names whether the model or parts of it are compiled or not.

    >>> list(weights_of(torch.compile(nn.Linear(2, 1))))
    ['weight', 'bias']
    """
    return _uncompiled(model.state_dict())


def load_weights(model: nn.Module, state: dict[str, Any], *, strict: bool = True) -> None:
    """Load what `weights_of` gave, also of a model that was compiled into one that is not."""
    own = {plain(name): name for name in model.state_dict()}
    named = {own.get(name, name): value for name, value in _uncompiled(state).items()}
    model.load_state_dict(named, strict=strict)


def _uncompiled(state: dict[str, Any]) -> dict[str, Any]:
    if not any(_COMPILED in name for name in state):
        return state
    return {plain(name): value for name, value in state.items()}


def plain(name: str) -> str:
    """The name of a weight in a model that is not compiled."""
    return name.replace(_COMPILED, "")


def check_model(model: nn.Module, state: dict[str, Any], *, strict: bool = True) -> None:
    """Raise a ValueError that lists what differs, unless the weights `state` fit `model`.

    >>> check_model(nn.Linear(2, 1), {"weight": torch.zeros(1, 3)})
    Traceback (most recent call last):
    ...
    ValueError: the file does not fit the model:
      shape differs: `weight` is (1, 3) in the file, (1, 2) in the model
      missing in the file: `bias`
    """
    if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
        raise ValueError(f"weights are a dict of tensors by name, got a {type(state).__name__}")
    ours, state = weights_of(model), _uncompiled(state)
    faults = [
        f"shape differs: `{name}` is {tuple(value.shape)} in the file, "
        f"{tuple(ours[name].shape)} in the model"
        for name, value in state.items()
        if isinstance(value, Tensor)
        and isinstance(ours.get(name), Tensor)
        and value.shape != ours[name].shape
    ]
    if strict:
        faults += _listed("missing in the file", [name for name in ours if name not in state])
        faults += _listed("not in the model", [name for name in state if name not in ours])
    if faults:
        raise ValueError("the file does not fit the model:\n  " + "\n  ".join(faults))


@contextmanager
def unchanged(*modules: nn.Module, opt: Optimizer | None = None) -> Generator[None]:
    """Give back the modules and the optimizer bit for bit as they were, whatever happens inside.

    That is: parameters, buffers, gradients, training modes; the optimizer's state and groups. The
    copies lie on the CPU, so that a large model need not fit twice on the device.

    >>> model = nn.Linear(2, 1)
    >>> before = model.weight.clone()
    >>> with unchanged(model):
    ...     _ = model.weight.data.zero_()
    >>> torch.equal(before, model.weight)
    True
    """
    tensors = [t for module in modules for t in (*module.parameters(), *module.buffers())]
    if any(is_lazy(t) for t in tensors):
        raise ValueError(
            "the model has parameters without a size yet, so there is nothing to put back; run one "
            "batch through it first: `learn.model(*learn.dls.split(learn.dls.one_batch())[0])`"
        )
    copies = [t.detach().to("cpu", copy=True) for t in tensors]
    gradients = [(t, t.grad, t.requires_grad) for t in tensors]
    slots: list[tuple[dict[str, Any], dict[str, Any]]] = [
        (cast(Any, own), dict(own))
        for module in modules
        for m in module.modules()
        for own in (m._parameters, m._buffers)  # pyright: ignore[reportPrivateUsage]
        if isinstance(own, dict)  # a scripted module has something like one, that nobody replaces
    ]
    for tensor, _, _ in gradients:
        tensor.grad = None
    modes = [(m, m.training) for module in modules for m in module.modules()]
    groups = [(group, _copied(group)) for group in opt.param_groups] if opt else []
    state = {p: _copied(values) for p, values in opt.state.items()} if opt else {}
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, kept in zip(tensors, copies, strict=True):
                tensor.copy_(kept)
        for tensor, gradient, wants_gradient in gradients:
            tensor.grad = gradient
            tensor.requires_grad_(wants_gradient)
        for own, kept in slots:  # a buffer may have been replaced by another
            own.clear()
            own.update(kept)
        for module, mode in modes:
            module.training = mode
        if opt:
            for group, kept in groups:
                group.clear()
                group.update(kept)
            opt.param_groups[:] = [group for group, _ in groups]
            opt.state.clear()
            opt.state.update(state)


def _copied(values: dict[str, Any]) -> dict[str, Any]:
    """A copy that shares no tensor but the parameters themselves."""
    return {
        key: list(value)
        if key == "params"
        else value.clone()
        if isinstance(value, Tensor)
        else copy.deepcopy(value)
        for key, value in values.items()
    }


def _listed(what: str, names: list[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return [f"{what}: " + ", ".join(f"`{name}`" for name in names[:8]) + more]
