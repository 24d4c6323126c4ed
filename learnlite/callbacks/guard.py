"""Finding where the first NaN or infinite value came from."""

import weakref
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from math import inf, isfinite, isnan
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase  # pyright: ignore[reportPrivateUsage]

from learnlite.callback import Callback
from learnlite.events import Order
from learnlite.hooks import Hook, check_hookable, leaf_modules, tensors_in
from learnlite.tally import Clock

_lists: Any = torch  # its operations on lists of tensors, `_foreach_…`, are typed as private


# What is said of the first bad place, by its kind; the kinds stand as a batch meets them.
_SENTENCES = {
    "weight": ("the weight `{name}` was {what} already before {batch}: load or initialize it anew"),
    "old statistic": (
        "the statistic `{name}` was {what} already before {batch}, and validation goes by it: load "
        "or reset it (`reset_running_stats()`)"
    ),
    "input": (
        "the input `{name}` held {what} values {at}, before the model saw it: look at the data and "
        "what is done to them, as a missing value, or a division by a deviation of 0"
    ),
    "target": (
        "the target held {what} values {at}, before the model saw it: look at the data and what is "
        "done to them, as a missing value, or a division by a deviation of 0"
    ),
    "before": (
        "the layer {layer} was given {what} values {at_rate}, though no layer gave any: the "
        "model's own code made them {after}. Look there for a division, a logarithm, a root of 0 "
        "or an `exp` of much"
    ),
    "layer": (
        "the layer {layer} gave {what} values {at_rate}, out of an input that was finite: {advice}"
    ),
    "prediction": (
        "the prediction held {what} values {at_rate}, though no layer gave any: the model's own "
        "code made them {after}, or a callback did"
    ),
    "loss": (
        "the loss was {what} {at_rate}, out of a prediction that was finite: look in the loss "
        "function for a logarithm or a division by 0 (the mean over an empty mask is NaN), and "
        "whether the targets are what it takes"
    ),
    "gradient": (
        "the gradient of `{name}` was {what} {at_rate}, though the loss was finite. {between}. A "
        "root, a norm or a logarithm has an infinite slope at 0: add a small number inside, as in "
        "`(x + 1e-8).sqrt()`"
    ),
    "changed": (
        "the gradient of `{name}` was {what} when the step came {at_rate}, though it was finite "
        "after the backward pass: look at what changes gradients in between{changers}"
    ),
    "statistic": (
        "the statistic `{name}` became {what} {at}, and validation goes by it, though what the "
        "layers gave was finite: look at what writes to it"
    ),
    "step": (
        "the step made the weight `{name}` {what} {at_rate}, out of finite gradients: try a lower "
        "rate, or a larger `eps` of the optimizer"
    ),
}
_FATAL = {"weight", "old statistic", "loss", "statistic", "step"}  # others may come to nothing
_AT_START = "before the first layer"
_BETWEEN = "That of `{}`, later in the model, was finite too: look between the two"
_AT_END = "Look at what comes after it in the model, and at the loss itself"
_OWN_CODE = "look in its code for a division or a logarithm of 0, or the root of a negative number"
_STEPPED = "try a lower rate, or clip the gradients"
_NO_STEP = "no step was made yet, so look at the size of its input and of its first weights"
_HALF = "in float16 values end at 65504, in bfloat16 they do not"


class _Place(NamedTuple):
    """A moment of a batch, and the name of what was looked at: `kind` is one of `_SENTENCES`."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class _Batch(NamedTuple):
    """The least and the largest value at each place, in the order in which they came."""

    epoch: int
    iter: int
    lr: Any
    is_open: bool  # whether its gradients wait for others before the step
    places: list[_Place]
    values: Tensor

    def faults(self) -> list[tuple[_Place, str]]:
        """The places with bad values, and what these are."""
        values = self.values.tolist()  # host sync: only if there is something to find
        return [
            (place, "NaN" if isnan(low) or isnan(high) else "infinite")
            for place, low, high in zip(self.places, values[::2], values[1::2], strict=True)
            if not (isfinite(low) and isfinite(high))
        ]


class NaNGuard(Callback):
    """Ends a fit whose loss or weights become NaN or infinite with an error that names the source.

    That is the first place in order: the weights as they were, inputs, targets, each layer, the
    loss, the gradients, running statistics, the step. An infinite value that reaches none of
    loss, weights and statistics, as in the mask of an attention, is no fault. Training is not
    changed, but slowed: every output, weight and gradient is read once more, which costs a tiny
    net 0.16 ms a batch on the CPU, and a ResNet18 next to nothing. Nothing waits for the
    device: it is looked at about five times a second and at the end of each pass, and the batch
    that is named is the right one.

    >>> from learnlite import DataLoaders, Learner
    >>> class Root(nn.Module):
    ...     def forward(self, x):
    ...         return x.sqrt()
    >>> model = nn.Sequential(nn.Linear(1, 1), Root())
    >>> for parameter in model.parameters():
    ...     _ = nn.init.zeros_(parameter)
    >>> dls = DataLoaders([(torch.ones(4, 1), torch.ones(4, 1))], device="cpu")
    >>> learn = Learner(dls, model, nn.MSELoss(), cbs=NaNGuard, default_cbs=False)
    >>> learn.fit(1)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    FloatingPointError: the gradient of `0.bias` was infinite at batch 0 of epoch 0, ...
    """

    order = Order.DECIDE - 1  # before what would end the fit without saying where
    run_valid = False
    persist = ("_usual",)
    refuses = {"compiled model": "hooks are not called inside a compiled model"}

    @contextmanager
    def around_fit(self) -> Generator[None]:
        model = self.learn.model
        check_hookable(model)
        self._layers = leaf_modules(model)
        self._name_of = {id(layer): name for name, layer in self._layers.items()}
        self._params = dict(model.named_parameters())
        self._statistics = _statistics(model)
        self._usual: list[str] = []  # places of infinite values in sound batches
        self._waiting: list[_Batch] = []
        self._source: tuple[_Batch, list[tuple[_Place, str]]] | None = None  # of the open window
        self._clock = Clock()
        self._clear()
        try:
            yield
        finally:
            self._waiting, self._source = [], None
            self._clear()

    @contextmanager
    def around_train(self) -> Generator[None]:
        hooks: list[Hook] = []
        try:
            hooks.extend(Hook(m, self._see_layer, detach=False) for m in self._layers.values())
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def state_dict(self) -> dict[str, Any]:
        """Mostly nothing, so that a fit that was saved without a guard can be resumed with one."""
        return super().state_dict() if vars(self).get("_usual") else {}

    # What is looked at, in the order in which it comes

    def before_train(self) -> None:
        self._see_all("weight", self._params)
        self._see_all("old statistic", self._statistics)

    def before_batch(self) -> None:
        xb = self.learn.xb
        for name, value in xb.items() if isinstance(xb, dict) else enumerate(xb):
            self._see("input", str(name), value)
        self._see("target", "", self.learn.yb)

    def _see_layer(self, module: nn.Module, inputs: Any, output: Any) -> None:
        name = self._name_of[id(module)]
        self._see("before", name, inputs)
        self._see("layer", name, output)

    def after_pred(self) -> None:
        self._see("prediction", "", self.learn.pred)

    def after_loss(self) -> None:
        self._see("loss", "", self.learn.loss)

    def after_backward(self) -> None:
        self._see_gradients("gradient")  # here: clipping makes all NaN, if one is

    def before_step(self) -> None:
        self._see_gradients("changed")
        self._steps = True

    def _see_gradients(self, kind: str) -> None:
        """Look at the gradients, but at those that have not changed since."""
        now = {n: (p.grad, _version(p.grad)) for n, p in self._params.items() if p.grad is not None}
        new = {
            name: seen[0] for name, seen in now.items() if not _same(seen, self._grads.get(name))
        }
        self._see_all(kind, new)
        self._grads = now

    def after_batch(self) -> None:
        learn = self.learn
        self._see_all("statistic", self._statistics)
        if self._steps:
            self._see_all("step", self._params)
        self._close(learn.iter)
        if self._clock.due() or learn.iter + 1 >= learn.n_iter:
            self._look()

    def after_train(self) -> None:
        self._see_all("step", self._params)  # there may have been one after the last batch
        self._close(self.learn.iter - 1)
        self._look()

    def _see(self, kind: str, name: str, value: Any) -> None:
        """Take the least and the largest value of each tensor that has not been looked at yet."""
        for tensor in tensors_in(value):
            seen = self._seen.get(id(tensor))
            version = _version(tensor)
            if seen is not None and seen[0]() is tensor and seen[1] == version:
                continue
            if _measurable(tensor):
                self._seen[id(tensor)] = weakref.ref(tensor), version
                self._places.append(_Place(kind, name))
                self._values += _extremes(tensor)

    def _see_all(self, kind: str, tensors: Mapping[str, Tensor]) -> None:
        """The same for weights or gradients, which are many."""
        named = {name: t.detach().to_dense() for name, t in tensors.items() if _measurable(t)}
        self._places += [_Place(kind, name) for name in named]
        if all(tensor.device.type == "cpu" for tensor in named.values()):
            for tensor in named.values():
                self._values += _extremes(tensor)
        else:
            for largest in _lists._foreach_norm(list(named.values()), inf):
                self._values += (largest, largest)

    def _clear(self) -> None:
        self._places: list[_Place] = []
        self._values: list[Tensor] = []
        self._seen: dict[int, tuple[weakref.ref[Tensor], int]] = {}
        self._grads: dict[str, tuple[Tensor, int]] = {}
        self._steps = False

    # Judging it, later

    def _close(self, iter: int) -> None:
        if self._values:
            device, lr = self._values[0].device, self.learn.opt.param_groups[-1]["lr"]
            values = torch.stack([value.to(device) for value in self._values])
            is_open = self.learn.progress.gathered > 0
            self._waiting.append(_Batch(self.learn.epoch, iter, lr, is_open, self._places, values))
        self._clear()

    def _look(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting or bool(torch.cat([batch.values for batch in waiting]).isfinite().all()):
            self._source = None  # host sync: a few times a second
            return
        for batch in waiting:
            self._judge(batch)

    def _judge(self, batch: _Batch) -> None:
        faults = batch.faults()
        kinds = {place.kind for place, _ in faults}
        if not kinds & _FATAL:
            if batch.is_open and "gradient" in kinds:  # what comes of it will be seen at the step
                self._source = self._source or (batch, faults)
                return
            self._source = None
            usual = {str(place) for place, _ in faults if place.kind not in ("gradient", "changed")}
            self._usual = sorted(usual.union(self._usual))
            return
        batch, faults = self._source or (batch, faults)
        unusual = [fault for fault in faults if str(fault[0]) not in self._usual] or faults
        first, what = unusual[0]
        if first.kind == "gradient":  # the backward pass reached the last one first
            first, what = [fault for fault in unusual if fault[0].kind == "gradient"][-1]
        raise FloatingPointError(self._message(batch, first, what))

    def _message(self, batch: _Batch, place: _Place, what: str) -> str:
        of_batch = f"batch {batch.iter} of epoch {batch.epoch}"
        at = f"at {of_batch}"
        i = batch.places.index(place)
        before = [p.name for p in batch.places[:i] if p.kind == "layer"]
        later = [p.name for p in batch.places[i + 1 :] if p.kind == "gradient"]
        return _SENTENCES[place.kind].format(
            what=what,
            name=place.name,
            batch=of_batch,
            at=at,
            at_rate=f"{at}, at a learning rate of {float(batch.lr):.3g}",
            layer=self._described(place.name),
            after=f"after the layer {self._described(before[-1])}" if before else _AT_START,
            between=_BETWEEN.format(later[0]) if later else _AT_END,
            changers=self._changers(),
            advice=self._advice(place.name, begun=batch.iter > 0 or batch.epoch > 0),
        )

    def _changers(self) -> str:
        calls = self.learn.callbacks.listeners[True]["before_step"]
        cbs = [getattr(call, "__self__", None) for call in calls]
        names = [f"`{cb!r}`" for cb in cbs if cb is not self]
        return f": {', '.join(names)}" if names else ""

    def _described(self, name: str) -> str:
        """A layer by its name and its class."""
        return f"`{name}` ({type(self._layers[name]).__name__})" if name in self._layers else ""

    def _advice(self, name: str, *, begun: bool) -> str:
        """Where to look in a layer that made bad values of good ones, the likeliest first."""
        of_torch = type(self._layers.get(name)).__module__.startswith("torch.")
        causes = [] if of_torch else [_OWN_CODE]
        return "; ".join([*causes, _STEPPED if begun else _NO_STEP, _HALF])


def _measurable(tensor: Tensor) -> bool:
    return (tensor.is_floating_point() or tensor.is_complex()) and tensor.numel() > 0


def _extremes(tensor: Tensor) -> tuple[Tensor, Tensor]:
    """The least and the largest value; both are NaN if one is."""
    tensor = tensor.detach()
    low, high = torch.aminmax(torch.view_as_real(tensor) if tensor.is_complex() else tensor)
    return low, high


def _version(tensor: Tensor) -> int:
    """How often a tensor has been changed in place."""
    return getattr(tensor, "_version")  # noqa: B009


def _same(now: tuple[Tensor, int], before: tuple[Tensor, int] | None) -> bool:
    return before is not None and now[0] is before[0] and now[1] == before[1]


def _statistics(model: nn.Module) -> dict[str, Tensor]:
    """The running means and variances of norm layers, which training leaves to validation."""
    norms = {name for name, module in model.named_modules() if isinstance(module, _NormBase)}
    return {name: b for name, b in model.named_buffers() if name.rpartition(".")[0] in norms}
