"""Looking at what passes through a module while the model runs; nothing stays on it afterwards."""

from collections.abc import Callable as Function
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, cast, overload

import torch
from torch import Tensor, distributed, nn
from torch.autograd.graph import register_multi_grad_hook as multi_grad_hook

from learnlite.data.batch import map_batch

HookFunc = Function[[nn.Module, Any, Any], Any]


class Hook:
    """Calls `hook_func(module, input, output)` when `m` has run; what it gives is in `stored`.

    With `is_forward=False` it is called in the backward pass, with the gradients of the module's
    inputs and outputs. `detach` takes tensors out of the graph, `cpu` brings them to the CPU (a
    wait for the device at each call), `gather` those of all processes together. A module called
    several times keeps what its last call gave. A copy of the model gets no working copy of a hook.

    >>> layer = nn.Linear(2, 3)
    >>> with Hook(layer, lambda module, input, output: tuple(output.shape)) as hook:
    ...     _ = layer(torch.zeros(4, 2))
    >>> hook.stored, len(layer._forward_hooks)
    ((4, 3), 0)
    """

    def __init__(
        self,
        m: nn.Module,
        hook_func: HookFunc,
        is_forward: bool = True,
        detach: bool = True,
        cpu: bool = False,
        gather: bool = False,
    ) -> None:
        self.hook_func = hook_func
        self.is_forward = is_forward
        self.detach = detach
        self.cpu = cpu
        self.gather = gather
        self.stored: Any = None
        self.removed = False
        register = m.register_forward_hook if is_forward else m.register_full_backward_hook
        self.hook = register(self._call)

    def remove(self) -> None:
        """Take the hook off its module; what it stored stays."""
        if not self.removed:
            self.hook.remove()
            self.removed = True

    def __enter__(self) -> "Hook":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()
        if error is not None and not self.is_forward:
            _explain_in_place(error)

    def _call(self, module: nn.Module, input: Any, output: Any) -> None:
        if self.removed:
            return
        if self.detach:
            input, output = map_batch(input, self._outside), map_batch(output, self._outside)
        self.stored = self.hook_func(module, input, output)

    def _outside(self, tensor: Tensor) -> Tensor:
        tensor = tensor.detach()
        if self.gather:
            tensor = _gathered(tensor)
        return tensor.cpu() if self.cpu else tensor  # host sync: `cpu=True` asks for it

    def __reduce__(self) -> Any:
        # A deep copy of the model would else copy all that `hook_func` holds, as a whole learner.
        return _no_hook, ()


class _GradHook(Hook):
    """Stores the gradients of the module's outputs, taken from the outputs themselves.

    Torch's own hook on gradients warns on a model's first layer, and cannot stand before a layer
    that changes its input in place.
    """

    def _call(self, module: nn.Module, input: Any, output: Any) -> None:
        outputs = [tensor for tensor in tensors_in(output) if tensor.requires_grad]
        if outputs:
            multi_grad_hook(outputs, self._keep)

    def _keep(self, gradients: Any) -> None:
        if not self.removed:
            self.stored = map_batch(tuple(gradients), self._outside)

    def _outside(self, tensor: Tensor) -> Tensor:
        return super()._outside(tensor) if self.detach else tensor


class Hooks:
    """A `Hook` on each of the modules `ms`.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with Hooks(model, lambda module, input, output: tuple(output.shape)) as hooks:
    ...     _ = model(torch.zeros(4, 2))
    >>> hooks.stored
    [(4, 3), (4, 3)]
    """

    def __init__(
        self,
        ms: Iterable[nn.Module],
        hook_func: HookFunc,
        is_forward: bool = True,
        detach: bool = True,
        cpu: bool = False,
        gather: bool = False,
        *,
        kind: type[Hook] = Hook,
    ) -> None:
        self.hooks: list[Hook] = []
        try:
            for m in ms:
                self.hooks.append(kind(m, hook_func, is_forward, detach, cpu, gather))
        except BaseException:
            self.remove()
            raise

    @overload
    def __getitem__(self, i: int) -> Hook: ...
    @overload
    def __getitem__(self, i: slice) -> list[Hook]: ...
    def __getitem__(self, i: int | slice) -> Hook | list[Hook]:
        return self.hooks[i]

    def __len__(self) -> int:
        return len(self.hooks)

    def __iter__(self) -> Iterator[Hook]:
        return iter(self.hooks)

    @property
    def stored(self) -> list[Any]:
        """What each hook stored, in the order of the modules."""
        return [hook.stored for hook in self.hooks]

    def remove(self) -> None:
        """Take the hooks off their modules; what they stored stays."""
        for hook in self.hooks:
            hook.remove()

    def __enter__(self) -> "Hooks":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.remove()
        if error is not None and any(not hook.is_forward for hook in self.hooks):
            _explain_in_place(error)


def hook_output(
    module: nn.Module, detach: bool = True, cpu: bool = False, grad: bool = False
) -> Hook:
    """A hook that stores the module's output; with `grad` a tuple with the gradients of it.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with hook_output(model[0], grad=True) as hook:
    ...     model(torch.ones(4, 2)).sum().backward()
    >>> hook.stored[0].shape
    torch.Size([4, 3])
    """
    return (_GradHook if grad else Hook)(module, _output, detach=detach, cpu=cpu)


def hook_outputs(
    modules: Iterable[nn.Module], detach: bool = True, cpu: bool = False, grad: bool = False
) -> Hooks:
    """`hook_output` of each of the modules.

    >>> model = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
    >>> with hook_outputs(model) as hooks:
    ...     _ = model(torch.ones(4, 2))
    >>> torch.equal(hooks[1].stored, hooks[0].stored.relu())
    True
    """
    return Hooks(modules, _output, detach=detach, cpu=cpu, kind=_GradHook if grad else Hook)


def has_params(m: nn.Module) -> bool:
    """Whether the module, or one inside it, has a parameter.

    >>> has_params(nn.Linear(1, 1)), has_params(nn.ReLU())
    (True, False)
    """
    return next(m.parameters(), None) is not None


def leaf_modules(model: nn.Module) -> dict[str, nn.Module]:
    """The layers: modules with no module inside that is called by itself, by name, each once.

    `nn.MultiheadAttention`, and a module with parametrizations such as `spectral_norm`, count as
    one layer. A model that is itself a single layer is called `model`.

    >>> list(leaf_modules(nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Dropout()))))
    ['0', '1.0', '1.1']
    """
    found: dict[str, nn.Module] = {}
    seen: set[int] = set()

    def walk(name: str, module: nn.Module) -> None:
        if id(module) in seen:
            return
        seen.add(id(module))
        children = list(module.named_children())
        if not children or _is_whole(module, children):
            if not isinstance(module, _NEVER_CALLED):
                found[name or "model"] = module
            return
        for child_name, child in children:
            walk(f"{name}.{child_name}" if name else child_name, child)

    walk("", model)
    return found


def tensors_in(value: Any) -> Iterator[Tensor]:
    """The tensors in a nested output, in order.

    >>> [t.item() for t in tensors_in({"a": torch.tensor(1), "b": (torch.tensor(2), None)})]
    [1, 2]
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for part in cast(Mapping[Any, Any], value).values():
            yield from tensors_in(part)
    elif isinstance(value, tuple | list):
        for part in cast(Sequence[Any], value):
            yield from tensors_in(part)


def check_hookable(model: nn.Module) -> None:
    """Refuse a compiled model: its hooks would be left out without a word."""
    for name, module in model.named_modules():
        compiled = getattr(module, "_compiled_call_impl", None) is not None
        if compiled or type(module).__name__ == "OptimizedModule":
            which = f"`{name}`" if name else "the model"
            raise ValueError(
                f"{which} is compiled, and hooks are not called inside a compiled model; look "
                "inside before you compile it"
            )


# Hold parameters or modules and are never called themselves.
_NEVER_CALLED = (nn.ModuleList, nn.ModuleDict, nn.ParameterList, nn.ParameterDict)


def _is_whole(module: nn.Module, children: list[tuple[str, nn.Module]]) -> bool:
    """Whether a module uses what is inside it without calling it."""
    if isinstance(module, nn.MultiheadAttention):
        return True
    return all(
        name == "parametrizations" or isinstance(child, nn.ParameterList | nn.ParameterDict)
        for name, child in children
    )


def _output(module: nn.Module, input: Any, output: Any) -> Any:
    return output


def _no_hook() -> Hook:
    """What a copy of a hook is: on no module, and silent."""
    hook = Hook.__new__(Hook)
    hook.removed, hook.stored, hook.is_forward = True, None, True
    return hook


def _explain_in_place(error: BaseException) -> None:
    if "BackwardHook" in str(error):
        error.add_note(
            "a hook on gradients stands on a layer whose output is changed in place by the next "
            "one; build that with `inplace=False`"
        )


def _gathered(tensor: Tensor) -> Tensor:
    if not (distributed.is_available() and distributed.is_initialized()):
        return tensor
    parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size())]
    distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts) if tensor.ndim else torch.stack(parts)
