"""How the model runs: frozen norm layers, memory order of images, compiled."""

import logging
import warnings
from collections.abc import Callable as Function
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FunctionType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]

from learnlite.callback import Callback, did_you_mean
from learnlite.data.batch import map_batch
from learnlite.events import Order
from learnlite.optim.strides import align_state


class BnFreeze(Callback):
    """Keeps the running statistics of frozen norm layers as they are while training.

    A layer is frozen if none of its parameters is trained; one without parameters, if none is
    trained in the module around it. With `Learner(…, train_bn=False)`, `freeze` freezes norm layers
    too; by default it leaves them training, and this has nothing to do. It is for batches that are
    too small or too unlike those of pretraining to estimate statistics from.

    >>> from learnlite import DataLoaders, Learner
    >>> model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    >>> dls = DataLoaders.from_tensors((torch.randn(64, 3), torch.randn(64, 1)), device="cpu")
    >>> learn = Learner(dls, model)
    >>> _ = model[:2].requires_grad_(False)
    >>> with learn.no_logging():
    ...     learn.fit(1, cbs=BnFreeze())
    >>> model[1].running_mean.tolist()
    [0.0, 0.0, 0.0, 0.0]
    """

    order = Order.SETUP

    def before_fit(self) -> None:
        if not _frozen_norms(self.learn.model):
            self.learn.say(
                "`BnFreeze` has nothing to do: no norm layer with running statistics is frozen; "
                "build the learner with `train_bn=False` so that `freeze` freezes them too"
            )

    @contextmanager
    def around_train(self) -> Generator[None]:
        frozen = [layer for layer in _frozen_norms(self.learn.model) if layer.training]
        for layer in frozen:
            layer.eval()
        try:
            yield
        finally:
            for layer in frozen:
                layer.train()


def _frozen_norms(model: nn.Module) -> list[nn.Module]:
    """The norm layers with running statistics in which nothing is trained.

    BatchNorm, SyncBatchNorm, and InstanceNorm where it was told to keep statistics.
    """
    found: list[nn.Module] = []
    modules = dict(model.named_modules())
    for name, layer in modules.items():
        if not isinstance(layer, _NormBase) or layer.running_mean is None:
            continue
        holder: nn.Module = layer
        while name and next(holder.parameters(), None) is None:
            name = name.rpartition(".")[0]
            holder = modules[name]
        if not any(p.requires_grad for p in holder.parameters()):
            found.append(layer)
    return found


class ChannelsLast(Callback):
    """Keeps images and convolutions in the order (height, width, channel) in memory, for one fit.

    The numbers stay the same but for rounding. It is made for GPUs with half precision; measure
    before you keep it: on a CPU it can be faster or slower. Weights, optimizer state and inputs of
    4 dimensions are converted; after the fit all lies as before.

    >>> from learnlite import DataLoaders, Learner, on
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> x, y = torch.randn(8, 3, 9, 9), torch.randint(8, (8,))
    >>> dls = DataLoaders.from_tensors((x, y), device="cpu")
    >>> learn = Learner(dls, model)
    >>> look = on(after_step=lambda learn: print(learn.xb[0].stride(), model[0].weight.stride()))
    >>> with learn.no_logging():
    ...     learn.fit(1, cbs=[ChannelsLast(), look])
    (243, 1, 27, 3) (27, 1, 9, 3)
    """

    order = Order.NORMAL + 5  # after what makes new inputs, before what copies the weights

    _converts = False

    @contextmanager
    def around_fit(self) -> Generator[None]:
        learn = self.learn
        self._converts = any(p.dim() == 4 for p in learn.model.parameters())
        self._aligned = False
        if not self._converts:
            learn.say(
                "`ChannelsLast` has nothing to do: no weight of the model has 4 dimensions, as "
                "those of convolutions over images have"
            )
        kept = [(t, t.stride()) for t in (*learn.model.parameters(), *learn.model.buffers())]
        try:
            for tensor, _ in kept:
                tensor.data = _channels_last(tensor.data)
            yield
        finally:
            for tensor, strides in kept:
                _restride(tensor, strides)
            align_state(learn.opt)
            self._converts = False

    def before_train(self) -> None:
        self._aligned = False

    def before_batch(self) -> None:
        if not self._converts:
            return
        if not self._aligned:  # here: a fit that is taken up gets its state after `before_fit`
            align_state(self.learn.opt)
            self._aligned = True
        self.xb = map_batch(self.xb, _channels_last)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def _restride(tensor: Tensor, strides: tuple[int, ...]) -> None:
    if tensor.stride() == strides:
        return
    new = torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype, device=tensor.device)
    tensor.data = new.copy_(tensor.data)


class Compile(Callback):
    """Runs the model compiled by `torch.compile` for one fit; its weights keep their names.

    The first batch of each size, in training and in validation, takes seconds to minutes, so it
    pays in long fits, mostly on a GPU. If the model cannot be compiled or there is no compiler, a
    warning says why and the fit goes on without. `mode`, `backend`, `fullgraph`, `dynamic` and
    `options` are those of `torch.compile`; but each size has a kernel of its own unless you say
    `dynamic=True` (for texts of many lengths), so that a fit that is taken up gives the same bits.

    >>> from learnlite import DataLoaders, Learner
    >>> dls = DataLoaders.from_tensors((torch.randn(64, 3), torch.randn(64, 1)), device="cpu")
    >>> learn = Learner(dls, nn.Linear(3, 1))
    >>> with learn.no_logging():
    ...     learn.fit(1, cbs=Compile(backend="eager"))   # the default backend needs a C++ compiler
    """

    order = Order.SETUP
    controls = ("compiled model",)

    _made: "tuple[nn.Module, list[bool], _Guarded] | None" = None  # for the next fit

    def __init__(
        self,
        mode: str = "default",
        *,
        backend: str | Function[..., Any] = "inductor",
        fullgraph: bool = False,
        dynamic: bool | None = False,
        options: dict[str, Any] | None = None,
    ) -> None:
        if options and mode != "default":
            raise ValueError(f"give `mode` or `options`, not both; got {mode!r} and {options}")
        self.mode = mode
        self.backend = backend
        self.fullgraph = fullgraph
        self.dynamic = dynamic
        self.options = options

    def __getstate__(self) -> dict[str, Any]:
        """A copy compiles the model that it is given; what is made here runs the model here."""
        return {name: value for name, value in vars(self).items() if name != "_made"}

    @contextmanager
    def around_fit(self) -> Generator[None]:
        model: Any = self.learn.model
        before = model._compiled_call_impl
        log, guarded = logging.getLogger("torch._dynamo.convert_frame"), None
        try:
            if before is None and not hasattr(model, "_orig_mod"):  # else it is compiled already
                guarded = self._compiled(model)
            if guarded is not None:
                log.addFilter(guarded.limit)
                model._compiled_call_impl = guarded
            yield
        finally:
            model._compiled_call_impl = before
            if guarded is not None:
                log.removeFilter(guarded.limit)

    def _compiled(self, model: nn.Module) -> "_Guarded | None":
        trained = [p.requires_grad for p in model.parameters()]  # others need kernels of their own
        if self._made is not None and self._made[:2] == (model, trained):
            return self._made[2]
        try:
            self._check()
            compiled: Any = torch.compile(
                _own_code(model),
                mode=None if self.options else self.mode,
                backend=self.backend,
                fullgraph=self.fullgraph,
                dynamic=self.dynamic,
                options=self.options,
            )
        except (RuntimeError, ImportError) as error:
            _warn(error)
            return None
        guarded = _Guarded(model, compiled)
        self._made = model, trained, guarded
        return guarded

    def _check(self) -> None:
        if not isinstance(self.backend, str):
            return
        from torch._dynamo import list_backends
        from torch._inductor import list_mode_options

        modes = list(list_mode_options())
        backends = list_backends(())
        for name, value, known in (("mode", self.mode, modes), ("backend", self.backend, backends)):
            if value not in known:
                raise ValueError(
                    f"`torch.compile` has no {name} {value!r}{did_you_mean(str(value), known)}"
                )


def _own_code(model: nn.Module) -> Function[..., Any]:
    """The plain forward pass as a function whose code nobody else has.

    torch counts what it has compiled by code, and runs as it is what exceeds 8: with
    `model.compile()`, the third model of a process is compiled in part, the fourth not at all.
    """

    def forward(*args: Any, **kwargs: Any) -> Any:
        return model._call_impl(*args, **kwargs)  # pyright: ignore[reportPrivateUsage]  # with hooks

    code = forward.__code__.replace()
    return FunctionType(code, forward.__globals__, "forward", None, forward.__closure__)


class _Limit(logging.Filter):
    """Hears in torch's log that it compiles no further variant: it says so nowhere else."""

    reason: str | None = None

    def filter(self, record: logging.LogRecord) -> bool:
        args = record.args
        if record.msg.startswith("torch._dynamo hit config") and isinstance(args, tuple):
            self.reason = str(args[3] if len(args) > 3 else "").partition("\n")[0]
        return True


class _Guarded:
    """The compiled model; from the moment when it cannot be compiled, the plain one.

    A forward pass that fails may have run in part: BatchNorm's statistics and the random states are
    then put back, so that the plain pass is the first.
    """

    def __init__(self, model: nn.Module, compiled: Function[..., Any]) -> None:
        self._model = model
        self._compiled = compiled
        self.limit = _Limit()
        self._told = False
        self._works = True
        self._seen: set[Any] = set()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._works:
            given = (*args, *kwargs.values())
            sizes = tuple(v.shape if isinstance(v, Tensor) else type(v) for v in given)
            key = (self._model.training, torch.is_grad_enabled(), sizes)
            restore = None if key in self._seen else _kept(self._model)
            self.limit.reason = None
            try:
                with nullcontext() if restore is None else _backward_too():
                    pred = self._compiled(*args, **kwargs)
            except Exception as error:
                if not _from_compiler(error):
                    raise
                failed = error
            else:
                if restore is not None:
                    self._seen.add(key)
                if self.limit.reason is not None:
                    self._warn_of_limit(self.limit.reason)
                return pred
            self._works = False
            if restore is not None:
                restore()
            pred = self._plain(*args, **kwargs)  # raises what the model itself is to blame for
            _warn(failed)
            return pred
        return self._plain(*args, **kwargs)

    def _plain(self, *args: Any, **kwargs: Any) -> Any:
        return self._model._call_impl(*args, **kwargs)  # pyright: ignore[reportPrivateUsage]

    def _warn_of_limit(self, reason: str) -> None:
        from torch._dynamo.config import recompile_limit

        if self._told:
            return
        self._told = True
        warnings.warn(
            f"this fit needs more than {recompile_limit} variants of the model, and torch compiles "
            f"no more: what is new now runs as it is. The last differs by: {reason}. If it is the "
            "size of batches, pass `Compile(dynamic=True)`, which compiles for any",
            stacklevel=2,
        )


def _backward_too() -> AbstractContextManager[Any]:
    """Compile the backward pass with the forward: what fails there is met where it can be helped.

    torch would compile it when the first gradient is asked for, in the middle of a step.
    """
    from torch._functorch import config

    settings: Any = config
    return settings.patch(force_non_lazy_backward_lowering=True)


def _kept(model: nn.Module) -> Function[[], None]:
    """What puts buffers and random states back as they are now."""
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    cpu = torch.get_rng_state()
    cuda = [(device, torch.cuda.get_rng_state(device)) for device in devices]

    def restore() -> None:
        with torch.no_grad():
            for buffer, value in buffers:
                buffer.copy_(value)
        torch.set_rng_state(cpu)
        for device, state in cuda:
            torch.cuda.set_rng_state(state, device)

    return restore


def _from_compiler(error: Exception) -> bool:
    """Whether an error is the compiler's and not the model's: told by where its class lives."""
    places = ("torch._dynamo", "torch._inductor", "torch._functorch", "torch.fx")
    return any(cls.__module__.startswith(places) for cls in type(error).__mro__)


def _warn(error: Exception) -> None:
    warnings.warn(
        f"the model could not be compiled, so the fit goes on without: {_cause(error)}",
        stacklevel=2,
    )


def _cause(error: BaseException) -> str:
    """The first line of what lies behind an error of the compiler's."""
    while isinstance(inner := getattr(error, "inner_exception", None), BaseException):
        error = inner
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
