"""The ways to run the loop: at a constant rate, on a schedule, to find a rate."""

import math
from collections import namedtuple
from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
from torch import nn

from learnlite import checkpoint, optim, schedules, suggest
from learnlite.callbacks.dry_run import DryRun
from learnlite.callbacks.lr_find import LRFinder, plot_lr_find, suggestions
from learnlite.callbacks.record import Recorder
from learnlite.callbacks.schedule import ParamScheduler
from learnlite.callbacks.show import ProgressBar
from learnlite.data.loader import Loader
from learnlite.data.torch_loader import kept_generators
from learnlite.events import CancelException, Order
from learnlite.faults import survived
from learnlite.metrics import as_metrics
from learnlite.optimizing import LR, Optimizing
from learnlite.resuming import (
    Resume,
    end_with,
    opened_checkpoints,
    read,
    state_to_resume,
)
from learnlite.seeds import kept_rng
from learnlite.types import counted, listify


class Fits(Optimizing):
    """The loop with the ways to run it."""

    def __init__(self) -> None:
        super().__init__()
        self._fitting = False

    def fit(
        self,
        n_epoch: int,
        lr: LR = None,
        wd: float | None = None,
        cbs: Any = None,
        reset_opt: bool = False,
        start_epoch: int = 0,
        *,
        resume: Resume = None,
        extend: bool = False,
    ) -> None:
        """Train for `n_epoch` epochs at a constant rate, or as the callbacks `cbs` schedule it.

        A second fit goes on with the same optimizer, unless `reset_opt`. With `resume=True` it goes
        on from the newest state of the `Checkpoint` among the callbacks, and so it does with a
        state that `learn.state_dict()` gave, or its file. It must be one of the same fit; with
        `extend` the number of epochs and the rates may be others from there on.
        """
        with (
            survived(self),
            self._begun(n_epoch, lr, wd, reset_opt, start_epoch),
            self.callbacks.added(cbs),
        ):
            self.callbacks.bind()
            self.callbacks.wake()
            self.callbacks.check()
            self.arguments = self._arguments()
            with opened_checkpoints(self) as checkpoints:
                state = state_to_resume(self, checkpoints, resume, extend=extend)
                if state is not None and state["progress"]["over"]:
                    end_with(self, state)
                else:
                    self._saved, self._extend = state, extend
                    for each in checkpoints:
                        each.begins = state is None
                    self._fit()
                    for each in checkpoints:
                        each.save_end()
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
        *,
        resume: Resume = None,
        extend: bool = False,
    ) -> None:
        """Train with the 1cycle policy: the rate rises to `lr_max` and falls to almost nothing.

        From `lr_max/div` it rises for the part `pct_start` of the way, then falls to
        `lr_max/div_final`. Momentum moves the other way through the three `moms`, where the
        optimizer has one. `lr_max=slice(1e-5, 1e-3)` spreads the rates over the layer groups.
        """
        peak = self._peak(lr_max, reset_opt)
        scheds = {
            "lr": schedules.one_cycle(peak, div=div, div_final=div_final, pct_start=pct_start)
        }
        if self._cycles_momentum(moms):
            scheds["mom"] = schedules.one_cycle_mom(moms or self.moms, pct_start=pct_start)
        given: dict[str, Any] = {
            "lr_max": peak,
            "div": div,
            "div_final": div_final,
            "pct_start": pct_start,
        }
        given |= {"moms": moms or self.moms}
        given["method"] = "fit_one_cycle"
        self._fit_scheduled(given, scheds, n_epoch, wd, cbs, start_epoch, resume, extend)

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
        *,
        resume: Resume = None,
        extend: bool = False,
    ) -> None:
        """Train at a constant rate for `pct_start` of the time, then let it fall along a cosine."""
        peak = self._peak(lr, reset_opt)
        scheds = {"lr": schedules.flat_cos(peak, pct_start=pct_start, div_final=div_final)}
        given: dict[str, Any] = {"method": "fit_flat_cos", "lr_max": peak, "pct_start": pct_start}
        given["div_final"] = div_final
        self._fit_scheduled(given, scheds, n_epoch, wd, cbs, start_epoch, resume, extend)

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
        *,
        resume: Resume = None,
        extend: bool = False,
    ) -> None:
        """Train in `n_cycles` cosine cycles, each `cycle_mult` times as long as the one before."""
        peak = self._peak(lr_max, reset_opt)
        n_epoch = cycle_len * sum(cycle_mult**i for i in range(n_cycles))
        scheds = {"lr": schedules.sgdr(n_cycles, cycle_len, cycle_mult, peak)}
        given: dict[str, Any] = {"method": "fit_sgdr", "lr_max": peak, "cycle_len": cycle_len}
        given["cycle_mult"] = cycle_mult
        self._fit_scheduled(given, scheds, n_epoch, wd, cbs, start_epoch, resume, extend)

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
        """Train the last layer group for `freeze_epochs`, then all, with rates that grow to it.

        A model of one layer group has no body to freeze: all of it trains in both. `kwargs` go to
        both calls of `fit_one_cycle`. With `resume` it goes on in the right one.
        """
        spread = len(self.layer_groups) > 1
        if spread:
            self.freeze()
        else:
            self.say(
                "the model has one layer group, so nothing is frozen at first; a `splitter` makes "
                "several"
            )
        head_lr = slice(base_lr) if spread else base_lr
        state = kwargs.get("resume")
        if state is None or isinstance(state, bool):
            self.fit_one_cycle(freeze_epochs, head_lr, pct_start=0.99, **kwargs)
        else:  # given for one of the two
            kwargs["resume"], _ = read(state, self.dls.device)
            fits = self.progress.past_fits + self.progress.over
            if kwargs["resume"]["progress"]["past_fits"] <= fits:
                self.fit_one_cycle(freeze_epochs, head_lr, pct_start=0.99, **kwargs)
                kwargs["resume"] = None
        base_lr /= 2
        self.unfreeze()
        lr = slice(base_lr / lr_mult, base_lr) if spread else base_lr
        self.fit_one_cycle(epochs, lr, pct_start=pct_start, div=div, **kwargs)

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
        record, decide, save or report stand aside, and those that drive the learning rate. (A
        `Stream` of a generator that runs already cannot be put back: give it the function.)
        """
        finder = LRFinder(start_lr, end_lr, num_it, stop_div)
        functions = listify(suggest_funcs)
        ours = {"lr", "epoch length", "average"}
        aside = [cb for cb in self.callbacks if cb.order >= Order.RECORD or ours & set(cb.controls)]
        bars = any(isinstance(cb, ProgressBar) and cb.bars for cb in aside)
        own = [Recorder(), *([ProgressBar(rows=False, batches=num_it)] if bars else [])]
        with self.callbacks.removed(aside), self.callbacks.added(own), self._unchanged():
            self.fit(math.ceil(num_it / max(length_of(self.dls.train, "training"), 1)), cbs=finder)
        lrs, losses = suggest.trimmed(finder.lrs, finder.losses, num_it)
        points = suggestions(lrs, losses, num_it, functions)
        if show_plot:
            plot_lr_find(lrs, losses, {name: point for name, (_, point) in points.items() if point})
        suggested = namedtuple("SuggestedLRs", points, rename=True)  # type: ignore[misc]  # its fields are the functions'
        return suggested(*(lr for lr, _ in points.values()))

    def check(self, cbs: Any = None, lr: LR = None, wd: float | None = None) -> None:
        """Try all that a fit does on a few batches, in seconds, so that a fault is met at once.

        The batches, the files and the report are those of `DryRun`; all is then as it was before.
        """
        with self.callbacks.added(cbs):
            ours = {"epoch length", "average"}
            aside = [cb for cb in self.callbacks if ours & set(cb.controls)]
            with self.callbacks.removed(aside), self._unchanged():
                self.fit(1, lr, wd, cbs=DryRun())

    # What a fit needs before it begins

    @contextmanager
    def _begun(
        self, n_epoch: int, lr: LR, wd: float | None, reset_opt: bool, start_epoch: int
    ) -> Generator[None]:
        if self._fitting:
            raise RuntimeError(
                "`fit` was called inside `fit` of the same learner; to change course from a "
                "callback raise `CancelFitException` and call `fit` again after it"
            )
        if not isinstance(n_epoch, int | np.integer) or n_epoch < 0:
            raise ValueError(
                f"`n_epoch` counts epochs and comes first, as in `fit_one_cycle(5, 3e-3)`; "
                f"got {n_epoch!r}"
            )
        if not 0 <= start_epoch <= n_epoch:
            raise ValueError(
                f"`start_epoch` must be between 0 and `n_epoch` ({n_epoch}), got {start_epoch}"
            )
        n_iter = length_of(self.dls.train, "training")
        if not n_iter:
            raise ValueError(
                "the training loader has no batches; "
                "with `drop_last` a set smaller than `bs` leaves none"
            )
        n_valid = 0 if self.dls.valid is None else length_of(self.dls.valid, "validation")
        self._to_device()
        opt = self.ready_opt(reset=reset_opt)
        optim.align_state(opt)  # the user may have converted the model since the last fit
        for name, value in (
            ("lr", self.lr if lr is None else lr),
            ("wd", self.wd if wd is None else wd),
        ):
            if value is not None or name in self._own:
                optim.set_hyper(opt, name, self._own[name] if value is None else value)
        self.progress = self.progress.next_fit(n_epoch, n_iter, n_valid, start_epoch=start_epoch)
        self.metrics = as_metrics(self.metrics)  # a user may have set others
        self._fitting = True
        depth = len(self._open)
        try:
            with kept_rng(self.dls.device), self._whole_steps:
                yield
        except CancelException as cancel:
            name = type(cancel).__name__
            raise RuntimeError(
                f"`{name}` was raised where no {cancel.closes} is running"
            ) from cancel
        finally:
            self._fitting = False
            self._saved = None
            del self._open[depth:]
            self.callbacks.wake()

    def _fit_scheduled(
        self,
        given: Mapping[str, Any],
        scheds: Mapping[str, Any],
        n_epoch: int,
        wd: float | None,
        cbs: Any,
        start_epoch: int,
        resume: Resume,
        extend: bool,
    ) -> None:
        scheduler = ParamScheduler(scheds)
        scheduler.made_by = given["method"]
        scheduler.made_with = {name: np.asarray(value).tolist() for name, value in given.items()}
        cbs = [scheduler, *listify(cbs)]
        self.fit(n_epoch, wd=wd, cbs=cbs, start_epoch=start_epoch, resume=resume, extend=extend)

    def _arguments(self) -> dict[str, Any]:
        """What the fit that begins was called with: arguments, rates of its groups, loss, data."""
        found: dict[str, Any] = {"method": "fit", "loss_func": _shown(self.loss_func)}
        dl = self.dls.train
        if isinstance(dl, Loader):
            found["the training set"] = f"{counted(dl.n, 'item')} in batches of {dl.bs}"
        found |= {name: optim.get_hyper(self.opt, name) for name in self._own}
        for cb in self.callbacks:
            if isinstance(cb, ParamScheduler):
                found |= cb.made_with
        return found

    @contextmanager
    def _unchanged(self) -> Generator[None]:
        """Everything a fit changes, given back as it was."""
        modules = [m for m in (self.model, self.loss_func) if isinstance(m, nn.Module)]
        kept = {name: getattr(self, name) for name in ("opt", "_own", "_own_of", "progress")}
        kept["arguments"] = self.arguments
        stack = ExitStack()
        with self._whole_steps:
            stack.enter_context(checkpoint.unchanged(*modules, opt=self.opt))
            stack.enter_context(kept_rng(self.dls.device))
            stack.enter_context(kept_generators(self.dls.train))
            stack.enter_context(self._batch_kept())
            stack.callback(vars(self).update, kept)
            stack.enter_context(self.callbacks.unchanged())
            try:
                yield
            finally:
                with self._whole_steps.step:  # an interrupt waits until all is as it was
                    stack.close()


def _shown(loss_func: Any) -> str:
    """A loss as a message tells it; one that is a net of its own by its class."""
    text = repr(loss_func)
    return type(loss_func).__name__ if "\n" in text else text


def length_of(dl: Any, which: str) -> int:
    """The number of batches of a loader, or an error that names it by `which` loader it is.

    >>> length_of([1, 2], "training")
    2
    """
    try:
        return len(dl)
    except TypeError as error:
        raise TypeError(
            f"the {which} loader ({type(dl).__name__}) has no length; "
            "give it one by `Stream(loader, n)`"
        ) from error
