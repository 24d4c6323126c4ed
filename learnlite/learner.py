"""The learner: data, model, loss and metrics together, and the ways to train them."""

import copy
import math
from collections import namedtuple
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from learnlite import checkpoint, optim, schedules, suggest
from learnlite.callback import Callback, Callbacks
from learnlite.callbacks.check import Checks
from learnlite.callbacks.lr_find import LRFinder, plot_lr_find, suggestions
from learnlite.callbacks.record import Recorder
from learnlite.callbacks.schedule import ParamScheduler
from learnlite.callbacks.show import ProgressBar
from learnlite.data import DataLoaders
from learnlite.events import Order
from learnlite.loop import Loop
from learnlite.losses import infer_loss
from learnlite.metrics import as_metrics
from learnlite.seeds import draw_seed, kept_rng
from learnlite.types import LossFunc, OptFunc, Splitter, listify

LR = float | slice | Sequence[float] | None


class Learner(Loop):
    """Trains a model on data: `Learner(dls, model, metrics=accuracy).fit_one_cycle(5, 3e-3)`.

    - `loss_func`: any function of (prediction, target); if not given, chosen from the targets.
    - `opt_func`: any optimizer of `torch.optim`, a `partial` of one, or ours; AdamW by default.
    - `lr`, `wd`: used where a fit names none; if not given, the optimizer's own. Weight decay leaves
      norm layers and biases out, unless `wd_bn_bias`.
    - `splitter`: splits the model into layer groups, which can be frozen and have rates of their own;
      `train_bn` keeps norm layers of frozen groups training.
    - `seed`: decides every random draw of training; if not given, drawn from torch's global generator.

    >>> import torch
    >>> from learnlite import DataLoaders, Learner
    >>> x = torch.randn(64, 3)
    >>> dls = DataLoaders.from_tensors((x, x.sum(1, keepdim=True)), bs=16, device="cpu")
    >>> learn = Learner(dls, nn.Linear(3, 1), lr=0.1)
    >>> with learn.no_logging():
    ...     learn.fit(8)
    >>> learn.recorder.last("train_loss") < learn.recorder.losses[0]
    True
    """

    def __init__(
        self,
        dls: DataLoaders,
        model: nn.Module,
        loss_func: LossFunc | None = None,
        opt_func: OptFunc = optim.Adam,
        lr: float | slice | None = None,
        splitter: Splitter = optim.default_splitter,
        cbs: Any = None,
        metrics: Any = None,
        path: str | Path | None = None,
        model_dir: str | Path = "models",
        wd: float | None = None,
        wd_bn_bias: bool = False,
        train_bn: bool = True,
        moms: tuple[float, float, float] = (0.95, 0.85, 0.95),
        default_cbs: bool = True,
        *,
        seed: int | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(dls, DataLoaders):
            raise TypeError(f"`dls` is a {type(dls).__name__}; wrap the loaders: `DataLoaders(train, valid)`")
        if not isinstance(model, nn.Module):
            made = f"; call it: `{model.__name__}(…)`" if isinstance(model, type) else ""
            raise TypeError(f"`model` must be an instance of `nn.Module`, got {model!r}{made}")
        self.dls = dls
        self.model = model
        self.opt_func = opt_func
        self.lr = lr
        self.splitter = splitter
        self.metrics = as_metrics(metrics)
        self.path = Path(path if path is not None else dls.path)
        self.model_dir = Path(model_dir)
        self.wd = wd
        self.wd_bn_bias = wd_bn_bias
        self.train_bn = train_bn
        self.moms = moms
        self.seed = draw_seed() if seed is None else seed
        self.loss_func = self._choose_loss() if loss_func is None else _checked_loss(loss_func)
        self.opt: Any = None
        self._own: dict[str, list[float]] = {}
        self._fitting = False
        self._to_device()
        defaults: list[Any] = [Checks, Recorder, ProgressBar] if default_cbs else []
        self.callbacks = Callbacks(self, defaults)
        self.callbacks.add(cbs)

    # Training

    def fit(
        self,
        n_epoch: int,
        lr: LR = None,
        wd: float | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
    ) -> None:
        """Train for `n_epoch` epochs at a constant rate, or as the callbacks `cbs` schedule it.

        A second fit goes on with the same optimizer, unless `reset_opt`.
        """
        with self._begun(n_epoch, lr, wd, reset_opt, start_epoch), self.callbacks.added(cbs):
            self.callbacks.check()
            self._fit()
        self.xb, self.yb, self.pred, self.loss, self.dl = (), (), None, None, None

    def fit_one_cycle(
        self,
        n_epoch: int,
        lr_max: LR = None,
        div: float = 25.0,
        div_final: float = 1e5,
        pct_start: float = 0.25,
        wd: float | None = None,
        moms: tuple[float, float, float] | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
    ) -> None:
        """Train with the 1cycle policy: the rate rises to `lr_max` and falls to almost nothing.

        Momentum moves the other way, where the optimizer has one.
        """
        peak = self._peak(lr_max, reset_opt)
        scheds = {"lr": schedules.combined_cos(pct_start, peak / div, peak, peak / div_final)}
        if self._cycles_momentum(moms):
            scheds["mom"] = schedules.combined_cos(pct_start, *(moms or self.moms))
        self._fit_scheduled(n_epoch, scheds, wd, cbs, start_epoch)

    def fit_flat_cos(
        self,
        n_epoch: int,
        lr: LR = None,
        div_final: float = 1e5,
        pct_start: float = 0.75,
        wd: float | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
    ) -> None:
        """Train at a constant rate for `pct_start` of the time, then let it fall along a cosine."""
        peak = self._peak(lr, reset_opt)
        scheds = {"lr": schedules.combined_cos(pct_start, peak, peak, peak / div_final)}
        self._fit_scheduled(n_epoch, scheds, wd, cbs, start_epoch)

    def fit_sgdr(
        self,
        n_cycles: int,
        cycle_len: int,
        lr_max: LR = None,
        cycle_mult: int = 2,
        cbs: Any = None,
        reset_opt: bool = False,
        wd: float | None = None,
        start_epoch: int = 0,
    ) -> None:
        """Train in `n_cycles` cosine cycles, each `cycle_mult` times as long as the one before."""
        peak = self._peak(lr_max, reset_opt)
        n_epoch = cycle_len * sum(cycle_mult**i for i in range(n_cycles))
        scheds = {"lr": schedules.sgdr(n_cycles, cycle_len, cycle_mult, peak)}
        self._fit_scheduled(n_epoch, scheds, wd, cbs, start_epoch)

    def fine_tune(
        self,
        epochs: int,
        base_lr: float = 2e-3,
        freeze_epochs: int = 1,
        lr_mult: float = 100,
        pct_start: float = 0.3,
        div: float = 5.0,
        **kwargs: Any,
    ) -> None:
        """Train the last layer group for `freeze_epochs`, then all of them with rates that grow to it.

        `kwargs` go to both calls of `fit_one_cycle`.
        """
        self.freeze()
        self.fit_one_cycle(freeze_epochs, slice(base_lr), pct_start=0.99, **kwargs)
        base_lr /= 2
        self.unfreeze()
        self.fit_one_cycle(epochs, slice(base_lr / lr_mult, base_lr), pct_start=pct_start, div=div, **kwargs)

    def lr_find(
        self,
        start_lr: float = 1e-7,
        end_lr: float = 10,
        num_it: int = 100,
        stop_div: bool = True,
        show_plot: bool = True,
        suggest_funcs: Any = suggest.valley,
    ) -> Any:
        """Try growing learning rates on a few batches; plot the loss, and give the suggestions.

        Nothing remains of the run: weights, optimizer, recorder, random states and the loaders'
        position are as before, and a fit after it is bit for bit a fit without it. Callbacks that
        record, decide, save or report stand aside, and those that drive the learning rate. (A `Stream`
        of a generator that is running already cannot be put back: give it the function instead.)
        """
        finder = LRFinder(start_lr, end_lr, num_it, stop_div)
        functions = listify(suggest_funcs)
        aside = [
            cb
            for cb in self.callbacks
            if (cb.order >= Order.RECORD and not isinstance(cb, ProgressBar)) or "lr" in cb.controls
        ]
        with self.callbacks.removed(aside), self.callbacks.added(Recorder), self._unchanged():
            self.fit(math.ceil(num_it / max(_length(self.dls.train, "training"), 1)), cbs=finder)
        lrs, losses = finder.lrs, finder.losses
        points = suggestions(lrs, losses, num_it, functions)
        if show_plot:
            plot_lr_find(lrs, losses, {name: point for name, (_, point) in points.items() if point})
        suggested = namedtuple("SuggestedLRs", points)  # type: ignore[misc]  # its fields are the functions'
        return suggested(*(lr for lr, _ in points.values()))

    def validate(self, ds_idx: int = 1, dl: Any = None, cbs: Any = None) -> list[float]:
        """Loss and metrics on loader `ds_idx` of `dls`, or on `dl`; also in the middle of a fit."""
        dl = self.dls[ds_idx] if dl is None else dl
        recorder = Recorder()
        others = [cb for cb in self.callbacks if isinstance(cb, Recorder | Checks)]
        with (
            self._batch_kept(),
            kept_rng(self.dls.device),
            self.callbacks.removed(others),
            self.callbacks.added([recorder, *listify(cbs)]),
        ):
            self._to_device()
            self.metrics = copy.deepcopy(self.metrics)
            self.progress.n_valid, self.progress.valid_batches = _length(dl, "validation"), 0
            self._validate_pass(dl)
            return recorder.valid_measures()

    # Layer groups

    @property
    def layer_groups(self) -> list[list[nn.Parameter]]:
        """The parameters in the groups that `splitter` makes, the body first."""
        return optim.layer_groups(self.model, self.splitter)

    def freeze_to(self, n: int) -> None:
        """Freeze the layer groups before `n`; negative numbers count from the last."""
        optim.freeze_to(self.layer_groups, n, self.model, train_bn=self.train_bn)

    def freeze(self) -> None:
        """Freeze all layer groups but the last."""
        self.freeze_to(-1)

    def unfreeze(self) -> None:
        """Train all layer groups."""
        self.freeze_to(0)

    def create_opt(self) -> None:
        """Make the optimizer anew, from `opt_func`: a plain one of `torch.optim`."""
        self.opt = optim.make_optimizer(
            self.opt_func, self.model, self.layer_groups, lr=self.lr, wd=self.wd, wd_bn_bias=self.wd_bn_bias
        )
        self._own = {name: optim.get_hyper(self.opt, name) for name in ("lr", "wd") if name in optim.hyper_names(self.opt)}
        self._parameters = [p for group in self.opt.param_groups for p in group["params"]]

    # Callbacks

    @property
    def cbs(self) -> list[Callback]:
        """The callbacks, in the order in which they are called."""
        return list(self.callbacks)

    @property
    def recorder(self) -> Recorder:
        """What was measured."""
        recorder = self.callbacks.find(Recorder)
        if recorder is None:
            raise AttributeError("this learner has no `Recorder`: `default_cbs=False` left it out; add one by `add_cb`")
        return recorder

    def add_cb(self, cb: Any) -> "Learner":
        """Add a callback, or a list of them, for good."""
        self.callbacks.add(cb)
        return self

    def remove_cb(self, cb: Any) -> "Learner":
        """Take a callback away, given as instance or class."""
        self.callbacks.remove(cb)
        return self

    add_cbs, remove_cbs = add_cb, remove_cb

    @contextmanager
    def added_cbs(self, cbs: Any) -> Iterator["Learner"]:
        """With these callbacks, for a while."""
        with self.callbacks.added(cbs):
            yield self

    @contextmanager
    def removed_cbs(self, cbs: Any) -> Iterator["Learner"]:
        """Without these callbacks, for a while."""
        with self.callbacks.removed(cbs):
            yield self

    @contextmanager
    def no_bar(self) -> Iterator["Learner"]:
        """Without bars, for a while; the rows of the table are printed plainly."""
        with self._shown_by(ProgressBar(bars=False)):
            yield self

    @contextmanager
    def no_logging(self) -> Iterator["Learner"]:
        """Without bars and without rows, for a while."""
        with self._shown_by(None):
            yield self

    @contextmanager
    def _shown_by(self, shower: Callback | None) -> Iterator[None]:
        shown = [cb for cb in self.callbacks if isinstance(cb, ProgressBar)]
        with self.callbacks.removed(shown), self.callbacks.added(shower if shown else None):
            yield

    def show_training_loop(self) -> None:
        """Print the loop, with the callbacks that listen at each event."""
        print(self.callbacks.describe())

    @contextmanager
    def loss_not_reduced(self) -> Iterator["Learner"]:
        """With a loss for each sample instead of their mean."""
        if not hasattr(self.loss_func, "reduction"):
            raise TypeError(f"`{self.loss_func!r}` has no `reduction`, so it cannot give a loss for each sample")
        loss_func: Any = self.loss_func
        reduction, loss_func.reduction = loss_func.reduction, "none"
        try:
            yield self
        finally:
            loss_func.reduction = reduction

    # Files

    def save(self, file: str | Path, with_opt: bool = True) -> Path:
        """Save weights, and the optimizer's state, to `path/model_dir/file.pth`; gives that path."""
        path = self._file(file)
        opt = self.opt.state_dict() if with_opt and self.opt is not None else None
        checkpoint.write(path, {"model": self.model.state_dict(), "opt": opt})
        return path

    def load(
        self, file: str | Path, with_opt: bool = True, device: Any = None, strict: bool = True
    ) -> "Learner":
        """Load what `save` saved, or a plain dict of weights; opened with `weights_only=True`."""
        state = checkpoint.read(self._file(file), self.dls.device if device is None else device)
        saved = isinstance(state, dict) and set(state) == {"model", "opt"}
        opt = state["opt"] if saved and with_opt else None
        if opt is not None:
            if self.opt is None:
                self.create_opt()
            optim.check_state(opt, self.opt, self.model)
        checkpoint.load_model(self.model, state["model"] if saved else state, strict=strict)
        if opt is not None:
            self.opt.load_state_dict(opt)
        return self

    # The state of the loop that is derived from its progress

    @property
    def epoch(self) -> int:
        """The index of the running epoch in this fit."""
        return self.progress.epochs

    @epoch.setter
    def epoch(self, value: int) -> None:
        self.progress.epochs = value

    @property
    def n_epoch(self) -> int:
        """Epochs of this fit."""
        return self.progress.n_epoch

    @n_epoch.setter
    def n_epoch(self, value: int) -> None:
        self.progress.n_epoch = value

    @property
    def iter(self) -> int:
        """The index of the running batch in its pass."""
        return self.progress.batches if self.training else self.progress.valid_batches

    @iter.setter
    def iter(self, value: int) -> None:
        if self.training:
            self.progress.batches = value
        else:
            self.progress.valid_batches = value

    @property
    def n_iter(self) -> int:
        """Batches of the running pass."""
        return self.progress.n_iter if self.training else self.progress.n_valid

    @n_iter.setter
    def n_iter(self, value: int) -> None:
        if self.training:
            self.progress.n_iter = value
        else:
            self.progress.n_valid = value

    @property
    def train_iter(self) -> int:
        """Training batches finished in this fit."""
        return self.progress.train_iter

    @train_iter.setter
    def train_iter(self, value: int) -> None:
        self.progress.seek(value)

    @property
    def pct_train(self) -> float:
        """The part of this fit's training that is done, from 0 to 1."""
        return self.progress.pct_train

    @pct_train.setter
    def pct_train(self, value: float) -> None:
        self.progress.seek(round(value * self.progress.n_epoch * self.progress.n_iter))

    def __repr__(self) -> str:
        n = sum(p.numel() for p in self.model.parameters())
        names = ", ".join(metric.name for metric in self.metrics) or "none"
        return (
            f"Learner({type(self.model).__name__} with {n:,} parameters on {self.dls.device}, "
            f"loss {_name(self.loss_func)}, optimizer {_name(self.opt_func)}, metrics {names}, cbs {self.cbs})"
        )

    # What a fit needs before it begins

    @contextmanager
    def _begun(self, n_epoch: int, lr: LR, wd: float | None, reset_opt: bool, start_epoch: int) -> Iterator[None]:
        if self._fitting:
            raise RuntimeError(
                "`fit` was called inside `fit` of the same learner; to change course from a callback raise "
                "`CancelFitException` and call `fit` again after it"
            )
        if not isinstance(n_epoch, int) or n_epoch < 0:
            raise ValueError(f"`n_epoch` counts epochs, got {n_epoch!r}")
        if not 0 <= start_epoch <= n_epoch:
            raise ValueError(f"`start_epoch` must be between 0 and `n_epoch` ({n_epoch}), got {start_epoch}")
        n_iter = _length(self.dls.train, "training")
        if not n_iter:
            raise ValueError("the training loader has no batches; with `drop_last` a set smaller than `bs` leaves none")
        n_valid = 0 if self.dls.valid is None else _length(self.dls.valid, "validation")
        self._to_device()
        if self.opt is None or reset_opt:
            self.create_opt()
        for name, value in (("lr", self.lr if lr is None else lr), ("wd", self.wd if wd is None else wd)):
            if value is not None or name in self._own:
                optim.set_hyper(self.opt, name, self._own[name] if value is None else value)
        self.progress = self.progress.next_fit(n_epoch, n_iter, n_valid, start_epoch=start_epoch)
        self._fitting = True
        try:
            with kept_rng(self.dls.device), self._whole_steps:
                yield
        finally:
            self._fitting = False
            self._open.clear()
            self.callbacks.wake()

    def _fit_scheduled(
        self, n_epoch: int, scheds: Mapping[str, Any], wd: float | None, cbs: Any, start_epoch: int
    ) -> None:
        self.fit(n_epoch, wd=wd, cbs=[ParamScheduler(scheds), *listify(cbs)], start_epoch=start_epoch)

    def _peak(self, lr: LR, reset_opt: bool) -> Any:
        """The highest rate of a schedule: a number, or an array with one for each layer group."""
        if self.opt is None or reset_opt:
            self.create_opt()
        lr = self.lr if lr is None else lr
        rates = optim.spread_lr(self._own["lr"] if lr is None else lr, len(self._own["lr"]))
        return rates[0] if len(rates) == 1 else np.array(rates)

    def _cycles_momentum(self, moms: Any) -> bool:
        """An optimizer that was made without momentum keeps none, unless it is asked for."""
        return moms is not None or ("mom" in optim.hyper_names(self.opt) and any(optim.get_hyper(self.opt, "mom")))

    def _choose_loss(self) -> LossFunc:
        if self.dls.loss_func is not None:
            return self.dls.loss_func
        _, yb = self.dls.split(self.dls.one_batch())
        if len(yb) != 1 or not isinstance(yb[0], Tensor):
            raise ValueError(
                f"the loss cannot be chosen from the data: a batch has {len(yb)} targets; pass `loss_func=…`"
            )
        return infer_loss(yb[0])

    def _to_device(self) -> None:
        """Put the model where the batches go; a model that lies on several devices stays as it is."""
        device = self.dls.device
        places = {t.device for t in (*self.model.parameters(), *self.model.buffers())}
        if len(places) == 1 and places != {device}:
            self.model.to(device)
            if self.opt is not None:
                self.opt.load_state_dict(self.opt.state_dict())  # moves its state to the parameters
        if isinstance(self.loss_func, nn.Module):
            self.loss_func.to(device)

    @contextmanager
    def _unchanged(self) -> Iterator[None]:
        """Everything a fit changes, given back as it was."""
        modules = [m for m in (self.model, self.loss_func) if isinstance(m, nn.Module)]
        opt, own, progress = self.opt, self._own, self.progress
        states = [(cb, copy.deepcopy(cb.state_dict())) for cb in self.callbacks]
        try:
            with checkpoint.unchanged(*modules, opt=opt), kept_rng(self.dls.device), self._batch_kept():
                yield
        finally:
            self.opt, self._own, self.progress = opt, own, progress
            for cb, state in states:
                cb.load_state_dict(state)

    def _file(self, file: str | Path) -> Path:
        path = self.path / self.model_dir / file
        return path if path.suffix == ".pth" else path.with_name(path.name + ".pth")


def _checked_loss(loss_func: Any) -> LossFunc:
    if isinstance(loss_func, type) or not callable(loss_func):
        name = getattr(loss_func, "__name__", repr(loss_func))
        raise TypeError(f"`loss_func` must be a function or an instance, got {loss_func!r}; call it: `{name}()`")
    return loss_func


def _length(dl: Any, which: str) -> int:
    try:
        return len(dl)
    except TypeError as error:
        raise TypeError(
            f"the {which} loader ({type(dl).__name__}) has no length; give it one by `Stream(loader, n)`"
        ) from error


def _name(thing: Any) -> str:
    return getattr(thing, "__name__", None) or type(thing).__name__
