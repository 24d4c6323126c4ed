"""Looking inside while it trains: hooks on the layers, and statistics of what they give."""

from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from learnlite.callback import Callback, did_you_mean
from learnlite.events import Order
from learnlite.hooks import (
    HookFunc,
    Hooks,
    check_hookable,
    has_params,
    leaf_modules,
    tensors_in,
)
from learnlite.plots import axes, count_along, pyplot
from learnlite.series import Series
from learnlite.types import check_number

NEAR_ZERO = 0.05
"""Values nearer to 0 than this count as near zero."""
N_BINS = 40
"""Bins of a histogram of absolute values."""
LAST_BIN = 10.0
"""Where the bins end; the last one also counts what is larger."""


class HookCallback(Callback):
    """Calls its method `hook(module, input, output)` in training, for each of `modules`.

    The method is a subclass's, or a function given as `hook`. `modules` are modules or their names;
    by default the layers that have parameters, with `include_paramless` all. `every=10` looks at
    each tenth batch only, and the others cost nothing. What `hook` gives is in `self.hooks.stored`,
    and `self.names` are the modules' names. The hooks are on the model in training passes only, and
    gone after an error; with `remove_end=False` they are put on once more at the end of the fit,
    until `self.hooks.remove()`.

    >>> class Shapes(HookCallback):
    ...     def hook(self, m, i, o):
    ...         return tuple(o.shape)
    ...
    ...     def after_fit(self):
    ...         print(dict(zip(self.names, self.hooks.stored)))
    >>> from learnlite import DataLoaders, Learner
    >>> dls = DataLoaders.from_tensors((torch.randn(80, 3), torch.randn(80, 1)), bs=16)
    >>> learn = Learner(dls, nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1)))
    >>> with learn.no_logging():
    ...     learn.fit(1, cbs=Shapes())
    {'0': (16, 5), '2': (16, 1)}
    """

    order = Order.RECORD
    run_valid = False
    refuses = {"compiled model": "hooks are not called inside a compiled model"}

    def __init__(
        self,
        modules: Sequence[nn.Module | str] | None = None,
        every: int | None = None,
        remove_end: bool = True,
        is_forward: bool = True,
        detach: bool = True,
        cpu: bool = False,
        include_paramless: bool = False,
        hook: HookFunc | None = None,
    ) -> None:
        if hook is not None:
            vars(self)["hook"] = hook  # called in place of the method
        elif type(self).hook is HookCallback.hook:
            raise TypeError(
                f"`{type(self).__name__}` does nothing yet: give your subclass a method "
                "`hook(self, m, i, o)`, or pass a function `hook=`"
            )
        if every is not None:
            check_number("every", every, whole=True)
            if every < 1:
                raise ValueError(f"`every` counts batches and must be at least 1, got {every}")
        self.modules = modules
        self.every = every
        self.remove_end = remove_end
        self.is_forward = is_forward
        self.detach = detach
        self.cpu = cpu
        self.include_paramless = include_paramless
        self.hooks = Hooks([], self.hook)
        self.names: list[str] = []
        self._hooked: list[nn.Module] = []

    def hook(self, m: nn.Module, i: Any, o: Any) -> Any:
        """What is to be done with a module, its input and its output; override it."""

    @contextmanager
    def around_fit(self) -> Generator[None]:
        self.hooks.remove()
        check_hookable(self.learn.model)
        found = self._find()
        self.names, self._hooked = list(found), list(found.values())
        yield
        if not self.remove_end:
            self._put_on()

    @contextmanager
    def around_train(self) -> Generator[None]:
        with ExitStack() as stack:
            stack.push(self._take_off)
            if self.every is None:
                self._put_on()
            yield

    def before_batch(self) -> None:
        if self.every is not None and self._due():
            self._put_on()

    def after_batch(self) -> None:
        if self.every is not None:
            self.hooks.remove()

    def _due(self) -> bool:
        return self.every is None or self.learn.train_iter % self.every == 0

    def _put_on(self) -> None:
        self.hooks.remove()
        self.hooks = Hooks(self._hooked, self.hook, self.is_forward, self.detach, self.cpu)

    def _take_off(self, *error: Any) -> None:
        self.hooks.__exit__(*error)

    def _find(self) -> dict[str, nn.Module]:
        """The modules to hook, by name."""
        model = self.learn.model
        if self.modules is None:
            leaves = leaf_modules(model)
            return {n: m for n, m in leaves.items() if self.include_paramless or has_params(m)}
        by_name = {name or "model": module for name, module in model.named_modules()}
        names = {id(module): name for name, module in by_name.items()}
        found: dict[str, nn.Module] = {}
        for module in self.modules:
            name = module if isinstance(module, str) else names.get(id(module), "")
            if name not in by_name:
                raise ValueError(
                    f"`modules` has `{module}`, which is not a part of the model"
                    + (did_you_mean(name, by_name) if name else "; take them from `learn.model`")
                )
            found[name] = by_name[name]
        return found


class LayerStats(NamedTuple):
    """What one layer gave, a value for each batch."""

    mean: list[float]
    std: list[float]
    near_zero: list[float]


class ActivationStats(HookCallback):
    """Records mean, standard deviation and share near zero of what each layer gives, every batch.

    Training is not changed, but slowed: each layer's output is read some times more. For a ResNet18
    on 64 px images on the CPU that is 5 % more time, 23 % with histograms; `every=10` makes it a
    tenth. Nothing waits for the device but one read an epoch.

    `near_zero` counts |a| < 0.05; `std` is that of the values themselves (no n-1); the histogram
    has 40 bins of |a| from 0 to 10, the last with all that is larger. Of an output that is a tuple
    or dict the first tensor counts; a module called several times in a batch has the statistics of
    all calls together, one not called has nan.

    >>> from learnlite import DataLoaders, Learner
    >>> dls = DataLoaders.from_tensors((torch.randn(80, 3), torch.randn(80, 1)), bs=16)
    >>> learn = Learner(dls, nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 1)))
    >>> stats = ActivationStats(with_hist=True)
    >>> with learn.no_logging():
    ...     learn.fit(2, cbs=stats)
    >>> stats.names, len(stats.layer_stats(-1).mean), stats.hist("0").shape
    (['0', '2'], 8, torch.Size([40, 8]))
    """

    def __init__(
        self,
        with_hist: bool = False,
        *,
        modules: Sequence[nn.Module | str] | None = None,
        every: int | None = None,
        include_paramless: bool = False,
    ) -> None:
        super().__init__(modules, every, include_paramless=include_paramless)
        self.with_hist = with_hist
        self._series = Series("layers")
        self._kind_of: Mapping[str, str] = {}  # the name of a layer's class, by the layer's own

    def before_fit(self) -> None:
        self._series = Series("layers", self.names)
        kinds = [type(module).__name__ for module in self._hooked]
        self._kind_of = dict(zip(self.names, kinds, strict=True))
        self._position = {id(module): i for i, module in enumerate(self._hooked)}
        self._now: list[_Moments | None] = []
        self._listens = False

    def before_batch(self) -> None:
        super().before_batch()
        self._listens = self._due()
        self._now = [None] * len(self.names)

    def hook(self, m: nn.Module, i: Any, o: Any) -> None:
        tensor = next(tensors_in(o), None)
        if not self._listens or tensor is None or not tensor.numel():
            return
        position = self._position[id(m)]
        seen, new = self._now[position], _moments(tensor, with_hist=self.with_hist)
        self._now[position] = new if seen is None else _pooled(seen, new)

    def after_pred(self) -> None:
        """Later calls do not count: SAM's second pass, or checkpointing in the backward pass."""
        if self._listens:
            self._listens = False
            self._series.add(self.learn.train_iter, self._row())

    def after_train(self) -> None:
        if self._series.iters:
            self._series.read()

    def _row(self) -> Tensor:
        device = next((seen.mean.device for seen in self._now if seen is not None), None)
        nan = torch.full((), float("nan"), device=device)
        flat: list[Tensor] = []
        for seen in self._now:
            flat += (nan, nan, nan) if seen is None else seen[:3]
        row = torch.stack([tensor.to(device) for tensor in flat]).reshape(len(self._now), 3)
        if not self.with_hist:
            return row
        empty = torch.zeros(N_BINS, device=device)
        hists = [empty if s is None or s.hist is None else s.hist.to(device) for s in self._now]
        return torch.cat([row, torch.stack(hists)], 1)

    def state_dict(self) -> dict[str, Any]:
        return self._series.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._series.load_state_dict(state)

    # What was recorded

    @property
    def iters(self) -> list[int]:
        """Which batches of the fit were looked at."""
        return self._series.iters

    def layer_stats(self, idx: int | str) -> LayerStats:
        """Mean, standard deviation and share near zero of one layer, by position or name."""
        return LayerStats(*self._series.of(idx)[:, :3].T.tolist())

    def hist(self, idx: int | str) -> Tensor:
        """How many values fell into each bin of |a|: of shape (40, batches)."""
        if not self.with_hist:
            raise ValueError("no histograms are recorded; use `ActivationStats(with_hist=True)`")
        return self._series.of(idx)[:, 3:].T

    def plot_layer_stats(self, idx: int | str | None = None) -> Any:
        """Mean, standard deviation and share near zero over the batches; by default of all layers.

        The first layers are dark, the last ones bright.
        """
        self._series.check()
        positions = range(len(self._series.names)) if idx is None else [self._series.position(idx)]
        shades = pyplot().get_cmap("viridis")
        panels = axes(n=3, width=4.2, height=3.0)
        for i, position in enumerate(positions):
            color = shades(0.9 * i / max(len(positions) - 1, 1))
            for ax, values in zip(panels, self.layer_stats(position), strict=True):
                ax.plot(self.iters, values, color=color, lw=1.2, label=self._series.names[position])
        for ax, title in zip(panels, ("mean", "standard deviation", "share near 0"), strict=True):
            ax.set_title(title)
            count_along(ax, "batch")
            ax.grid(alpha=0.25)
        panels[2].set_ylim(-0.03, 1.03)
        lines = panels[2].lines
        shown = lines if len(lines) <= 12 else [lines[0], lines[len(lines) // 2], lines[-1]]
        panels[2].legend(
            handles=list(shown), fontsize="small", loc="center left", bbox_to_anchor=(1.02, 0.5)
        )
        return panels

    def color_dim(
        self, idx: int | str, figsize: tuple[float, float] = (8.0, 3.0), ax: Any = None
    ) -> Any:
        """The histogram of each batch as a column, brighter where there are more values.

        A layer that learns well fills a band that stays; a band that shrinks to the bottom line is
        a layer that dies.
        """
        counts = self.hist(idx).log1p()
        width, height = figsize
        ax = axes(ax, width=width, height=height)
        extent = (self.iters[0], self.iters[-1] + (self.every or 1), 0.0, LAST_BIN)
        ax.imshow(
            counts.numpy(), origin="lower", aspect="auto", interpolation="nearest", extent=extent
        )
        ax.set(title=self._title(idx), ylabel="|a|")
        count_along(ax, "batch")
        return ax

    def plot_hist(self, idx: int | str, ax: Any = None) -> Any:
        """The share of values in each bin, in the first batch and in the last."""
        counts = self.hist(idx)
        ax = axes(ax)
        edges = torch.linspace(0, LAST_BIN, N_BINS + 1)
        shares = counts / counts.sum(0)
        last = f"batch {self.iters[-1]}"
        ax.stairs(shares[:, -1], edges, fill=True, alpha=0.5, label=last)
        ax.stairs(shares[:, 0], edges, color="black", lw=1.2, label=f"batch {self.iters[0]}")
        ax.set(title=self._title(idx), xlabel="|a|", ylabel="share of values")
        ax.legend()
        return ax

    def _title(self, idx: int | str) -> str:
        name = self._series.names[self._series.position(idx)]
        return f"`{name}` {self._kind_of.get(name, '')}".strip()


class _Moments(NamedTuple):
    """What was measured of a tensor with `n` values."""

    mean: Tensor
    std: Tensor
    near_zero: Tensor
    hist: Tensor | None
    n: int


def _moments(tensor: Tensor, *, with_hist: bool) -> _Moments:
    tensor = tensor.detach()
    tensor = (torch.view_as_real(tensor) if tensor.is_complex() else tensor).float()
    n, size = tensor.numel(), tensor.abs()
    near_zero = (size < NEAR_ZERO).float().mean()
    hist = size.clamp_(max=LAST_BIN).histc(N_BINS, 0, LAST_BIN) if with_hist else None
    return _Moments(tensor.mean(), tensor.std(correction=0), near_zero, hist, n)


def _pooled(a: _Moments, b: _Moments) -> _Moments:
    """Of the values of both together."""
    n = a.n + b.n
    part, shift = b.n / n, b.mean - a.mean
    variance = torch.lerp(a.std.square(), b.std.square(), part) + shift**2 * (part * (1 - part))
    return _Moments(
        a.mean + shift * part,
        variance.sqrt(),
        torch.lerp(a.near_zero, b.near_zero, part),
        None if a.hist is None or b.hist is None else a.hist + b.hist,
        n,
    )
