"""What a model is made of and what training it takes, told by one batch that runs through it."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.parameter import UninitializedParameter
from torch.optim import Optimizer

from learnlite import optim
from learnlite.checkpoint import unchanged
from learnlite.hooks import Hooks, check_hookable, leaf_modules, tensors_in
from learnlite.seeds import kept_rng
from learnlite.types import OptFunc


class LayerRow(NamedTuple):
    """A layer in the order in which it is called; or a parameter that belongs to no layer."""

    name: str
    type: str
    output: Any
    """The shape as a tuple, or a list or dict of shapes; None if it was not called."""
    parameters: int
    """Those that no row before has counted."""
    trainable: str
    """`yes`, `no`, `part`, or nothing if it has no parameters."""
    calls: int


@dataclass(frozen=True, repr=False)
class Summary:
    """A table of layers with what training needs below it; `print` it, or read its attributes."""

    model: str
    inputs: Any
    rows: list[LayerRow]
    parameters: int
    trainable: int
    parameter_bytes: int
    gradient_bytes: int
    optimizer_bytes: int | None
    """None if it cannot be told: the optimizer's function did not run on a small model."""
    activation_bytes: int
    """What the forward pass of this batch keeps for the backward pass."""
    notes: tuple[tuple[str, str], ...]
    """What the learner adds: optimizer, loss, layer groups, callbacks."""

    def __repr__(self) -> str:
        head = ("layer", "type", "output", "parameters", "trainable")
        cells = [head, *(_cells(row) for row in self.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
        lines = [_line(row, widths) for row in cells]
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        frozen = self.parameters - self.trainable
        sizes = {
            "parameters": self.parameter_bytes,
            "gradients": self.gradient_bytes,
            "optimizer": self.optimizer_bytes,
            "activations": self.activation_bytes,
        }
        memory = " + ".join(f"{_bytes_text(size)} {name}" for name, size in sizes.items())
        notes = [
            ("parameters", f"{self.parameters:,}: {self.trainable:,} trainable, {frozen:,} frozen"),
            ("memory", f"about {memory}"),
            *self.notes,
        ]
        width = max(len(name) for name, _ in notes)
        return "\n".join(
            [
                f"{self.model}, given {_shape_text(self.inputs)}",
                rule,
                lines[0],
                rule,
                *lines[1:],
                rule,
                *(f"{name:<{width}}  {text}" for name, text in notes),
            ]
        )


def summarize(
    model: nn.Module,
    xb: Any,
    *,
    opt: Optimizer | None = None,
    opt_func: OptFunc | None = None,
    loss_func: Any = None,
    groups: Sequence[Iterable[nn.Parameter]] = (),
    cbs: Iterable[Any] = (),
    autocast: AbstractContextManager[Any] | None = None,
) -> Summary:
    """Run the inputs `xb` through `model` once, in evaluation mode, and describe what happened.

    The model, its buffers and the random states are afterwards as before. `xb` is a tuple of
    inputs, or a dict for a model that takes keywords.

    >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    >>> summarize(model, (torch.zeros(16, 4),), opt_func=optim.Adam)
    Sequential, given 16 x 4
    --------------------------------------------
    layer  type    output  parameters  trainable
    --------------------------------------------
    0      Linear  16 x 8          40  yes
    1      ReLU    16 x 8
    2      Linear  16 x 2          18  yes
    --------------------------------------------
    parameters  58: 58 trainable, 0 frozen
    memory      about 232 bytes parameters + 232 bytes gradients + 464 bytes optimizer + 512 bytes \
activations
    optimizer   Adam
    """
    check_hookable(model)
    for name, p in model.named_parameters():
        if isinstance(p, UninitializedParameter):
            raise ValueError(
                f"`{name}` has no shape yet, as its layer is lazy: run a batch through the model "
                "before: `model(*xb)`"
            )
    with kept_rng():
        order, outputs, calls, kept = _run(model, xb, autocast or nullcontext())
        per_parameter = None if opt_func is None else _state_ratio(opt_func)
    params = list(model.parameters())
    gradient_bytes = _nbytes(p for p in params if p.requires_grad)
    optimizer_bytes: int | None = None
    if opt is not None and opt.state:
        state: Any = opt.state
        optimizer_bytes = _nbytes(t for s in state.values() for t in tensors_in(s))
    elif per_parameter is not None:
        optimizer_bytes = round(per_parameter * gradient_bytes)
    return Summary(
        model=type(model).__name__,
        inputs=_shapes(xb[0] if isinstance(xb, tuple) and len(xb) == 1 else xb),
        rows=_rows(model, order, outputs, calls),
        parameters=sum(p.numel() for p in params),
        trainable=sum(p.numel() for p in params if p.requires_grad),
        parameter_bytes=_nbytes(params),
        gradient_bytes=gradient_bytes,
        optimizer_bytes=optimizer_bytes,
        activation_bytes=kept,
        notes=tuple(_notes(model, opt, opt_func, loss_func, groups, cbs)),
    )


# The run


def _run(
    model: nn.Module, xb: Any, autocast: AbstractContextManager[Any]
) -> tuple[list[str], dict[str, Any], dict[str, int], int]:
    """Names in order of call, shapes of outputs, numbers of calls, and the bytes kept."""
    layers, loose = leaf_modules(model), _loose_parameters(model)
    names = {id(layer): name for name, layer in layers.items()}
    order: dict[str, None] = {}
    outputs: dict[str, Any] = {}
    calls = dict.fromkeys(layers, 0)
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    own |= {t.untyped_storage().data_ptr() for t in tensors_in(xb)}
    kept: dict[int, int] = {}

    def see(module: nn.Module, inputs: Any, output: Any) -> None:
        name = names[id(module)]
        order.setdefault(name)
        outputs.setdefault(name, _shapes(output))
        calls[name] += 1

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor.detach()  # which holds the storage, so that no other takes its place

    with ExitStack() as stack:
        stack.enter_context(unchanged(model))
        model.eval()
        stack.enter_context(Hooks(layers.values(), see))
        for owner, params in loose.items():
            note = partial(_note, order, params)
            stack.callback(model.get_submodule(owner).register_forward_pre_hook(note).remove)
        with torch.enable_grad(), saved_tensors_hooks(keep, lambda tensor: tensor), autocast:
            output = model(**xb) if isinstance(xb, dict) else model(*xb)
        del output
    everything = [*layers, *(name for params in loose.values() for name in params)]
    order.update(dict.fromkeys(everything))  # at the end what was not called
    return list(order), outputs, calls, sum(kept.values())


def _note(order: dict[str, None], names: list[str], module: nn.Module, inputs: Any) -> None:
    order.update(dict.fromkeys(names))


def _loose_parameters(model: nn.Module) -> dict[str, list[str]]:
    """Names of the parameters that no layer has, by the module that uses them."""
    in_layers = {id(p) for layer in leaf_modules(model).values() for p in layer.parameters()}
    loose: dict[str, list[str]] = {}
    for name, p in model.named_parameters():
        if id(p) not in in_layers:
            owner = name.rpartition(".")[0]
            while isinstance(model.get_submodule(owner), nn.ParameterList | nn.ParameterDict):
                owner = owner.rpartition(".")[0]
            loose.setdefault(owner, []).append(name)
    return loose


def _rows(
    model: nn.Module, order: list[str], outputs: dict[str, Any], calls: dict[str, int]
) -> list[LayerRow]:
    layers, loose = leaf_modules(model), dict(model.named_parameters())
    counted: set[int] = set()
    rows: list[LayerRow] = []
    for name in order:
        layer = layers.get(name)
        params = [loose[name]] if layer is None else list(layer.parameters())
        new = [p for p in params if id(p) not in counted]
        counted.update(id(p) for p in new)
        trained = [p.requires_grad for p in params]
        rows.append(
            LayerRow(
                name,
                "Parameter" if layer is None else type(layer).__name__,
                tuple(loose[name].shape) if layer is None else outputs.get(name),
                sum(p.numel() for p in new),
                ("yes" if all(trained) else "part" if any(trained) else "no") if params else "",
                0 if layer is None else calls[name],
            )
        )
    return rows


def _state_ratio(opt_func: OptFunc) -> float | None:
    """Bytes of the optimizer's state for a byte of parameters, told by a step of a small model."""
    model = nn.Linear(64, 64, bias=False)
    model.weight.grad = torch.zeros_like(model.weight)
    try:
        opt = optim.make_optimizer(opt_func, model, [list(model.parameters())], lr=1e-3)
        opt.step()
    except Exception:  # a function of the user's, which may want another model
        return None
    state: Any = opt.state
    tensors = [t for s in state.values() for t in tensors_in(s) if t.numel() > 1]
    return _nbytes(tensors) / _nbytes([model.weight])


def _notes(
    model: nn.Module,
    opt: Optimizer | None,
    opt_func: OptFunc | None,
    loss_func: Any,
    groups: Sequence[Iterable[nn.Parameter]],
    cbs: Iterable[Any],
) -> Iterable[tuple[str, str]]:
    if opt is not None or opt_func is not None:
        yield "optimizer", _name(opt_func if opt is None else opt)
    if loss_func is not None:
        yield "loss", _name(loss_func)
    if groups:
        norms = optim.norm_parameters(model)
        trains = [any(p.requires_grad and id(p) not in norms for p in group) for group in groups]
        first = trains.index(True) if True in trains else len(trains)
        frozen = f"frozen to {first}" if first else "none is frozen"
        yield "layer groups", f"{len(trains)}, {frozen}"
    shown = [repr(cb) for cb in cbs]
    for i, text in enumerate(shown):
        yield ("" if i else "callbacks"), text


# The text


def _cells(row: LayerRow) -> tuple[str, ...]:
    kind = f"{row.type} ({row.calls} calls)" if row.calls > 1 else row.type
    output = "not called" if row.output is None else _shape_text(row.output)
    count = f"{row.parameters:,}" if row.parameters else "shared" if row.trainable else ""
    return row.name, kind, output, count, row.trainable


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    name, kind, output, count, trainable = (
        cell.rjust(width) if i == 3 else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    )
    return f"{name}  {kind}  {output}  {count}  {trainable}".rstrip()


def _shapes(value: Any) -> Any:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    if isinstance(value, Mapping):
        return {key: _shapes(v) for key, v in cast(Mapping[Any, Any], value).items()}
    if isinstance(value, tuple | list):
        return [_shapes(part) for part in cast(Sequence[Any], value)]
    return "None" if value is None else type(value).__name__


def _shape_text(shapes: Any) -> str:
    if isinstance(shapes, tuple):
        return " x ".join(str(n) for n in cast(Sequence[int], shapes)) or "one number"
    if isinstance(shapes, dict):
        items = cast(dict[Any, Any], shapes).items()
        return ", ".join(f"{key}: {_shape_text(part)}" for key, part in items)
    if isinstance(shapes, list):
        return "(" + ", ".join(_shape_text(part) for part in cast(list[Any], shapes)) + ")"
    return str(shapes)


def _bytes_text(n: int | None) -> str:
    if n is None:
        return "unknown"
    size, units = float(n), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}" if size < 999.5 else f"{size:.0f} {units[0]}"


def _nbytes(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _name(thing: Any) -> str:
    return getattr(thing, "__name__", None) or type(thing).__name__
