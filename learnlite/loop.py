"""The fit loop, whole: what happens in which order, and the event of each moment."""

# `_Span` is the loop's own:
# pyright: reportPrivateUsage=false

import itertools
import secrets
import warnings
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import TracebackType
from typing import Any, TypeGuard

import torch
from torch import Tensor

from learnlite import snapshot
from learnlite.callback import add_note
from learnlite.data.batch import batch_size, logits_of
from learnlite.data.torch_loader import seed_loader
from learnlite.events import CancelException
from learnlite.interrupt import WholeSteps
from learnlite.precision import Precision
from learnlite.progress import Progress
from learnlite.seeds import mix, seed_torch
from learnlite.state import LoopState
from learnlite.state_copy import copied
from learnlite.types import Batch, EpochLoader

# Which stream of random numbers a seed is for: each has its own, so none disturbs another.
_STEP, _ORDER, _VALID = range(3)


class Loop(LoopState):
    """The loop; `Learner` is this with the ways to run it.

    A *window* is the batches whose gradients make one step: one batch, unless gradients are
    accumulated; `Progress` counts it.
    """

    def _fit(self) -> None:
        with self.callbacks.around("fit"), self._span("fit", "after_fit"):
            self._run("before_fit")
            if self._saved is not None:
                snapshot.restore(self, self._saved, extend=self._extend, tell=True)
            while self.progress.epochs < self.progress.n_epoch:
                self._fit_epoch()
                self.progress.finish_epoch()
        self.progress.over = True

    def _fit_epoch(self) -> None:
        with self._span("epoch", "after_epoch"):
            self._run("before_epoch")
            self._train_pass()
            if self.progress.n_valid:
                self._validate_pass(self.dls.valid)

    def _train_pass(self) -> None:
        self.training, self.dl, self._noise = True, self.dls.train, mix(self.seed, _STEP)
        self.model.train()
        with (
            torch.enable_grad(),
            self.callbacks.around("train"),
            self._span("train", "after_train"),
        ):
            self._run("before_train")
            for batch in self._train_batches():
                self._train_batch(batch)
                self.progress.finish_batch()
            if not self.progress.window_opens and self._has_gradients():
                self._step()  # the window's last batch was cancelled, or never came

    def _train_batch(self, batch: Batch) -> None:
        if self.inspect_batch is not None:
            self.inspect_batch(batch)
        with self._batch_span:
            if self.progress.window_opens:
                self._drop_gradients()  # not after the step: a cancelled batch may leave some
            self._receive(batch)
            self.forward()
            with self._backward_span:
                self._run("before_backward")
                self.precision.backward(self.loss, self._weight())
            if self.progress.step_due and self._has_gradients():
                self._step()

    def _receive(self, batch: Batch) -> None:
        self.pred = self.loss = None
        self.xb, self.yb = self.dls.receive(batch, self.training)
        self._run("before_batch")

    def forward(self) -> None:
        """Run model and loss on `xb` and `yb`: gives `pred` and `loss`, with their events."""
        with self.precision.autocast():
            if isinstance(self.xb, dict):
                self.pred = logits_of(self.model(**self.xb))
            else:
                self.pred = self.model(*self.xb)
        self._run("after_pred")
        if not self.has_loss:
            return
        with self.precision.autocast():
            self.loss = self.loss_func(self.pred, *self.yb)
        self._run("after_loss")

    def _step(self) -> None:
        with self._step_span:
            self.precision.unscale(self.opt, self.progress.close_window())
            self._run("before_step")
            with self._whole_steps.step:
                changed = self.precision.step(self.opt)
            if self.callbacks.listeners[True]["after_step"] and changed:  # fp16: host sync
                self._run("after_step")

    def _validate_pass(self, dl: Any) -> None:
        self.training, self.dl = False, dl
        self.model.eval()
        with (
            torch.no_grad(),
            self.callbacks.around("validate"),
            self._span("validate", "after_validate"),
        ):
            self._run("before_validate")
            for batch in self._valid_batches(dl):
                with self._batch_span:
                    self._receive(batch)
                    self.forward()
                self.progress.finish_valid_batch()

    # What the loop stands on

    def __init__(self) -> None:
        self.precision = Precision()
        self.progress = Progress()
        self.run = secrets.token_hex(8)
        self.arguments = {}
        self._whole_steps = WholeSteps()
        # Those of every batch are made once; a span holds nothing of its use.
        self._batch_span = _Span(self, "batch", "after_batch")
        self._backward_span = _Span(self, "backward", "after_backward")
        self._step_span = _Span(self, "step", None)
        self._open: list[str] = []
        self._closing: str | None = None
        self._turn = 0
        self._ending: CancelException | None = None
        self._saved: dict[str, Any] | None = None
        self._extend = False

    def _run(self, event: str) -> None:
        """Call those who listen to `event`, in order; a cancel ends the round."""
        for call in self.callbacks.listeners[self.training][event]:
            try:
                call()
            except CancelException as cancel:
                self._check_cancel(cancel, call, event)
                raise
            except Exception as error:
                add_note(error, getattr(call, "__self__", call), event)
                raise

    def _run_closing(self, event: str, cancel: CancelException | None) -> CancelException | None:
        """Call all who listen to a closing event; gives the widest cancel, theirs or `cancel`."""
        outer = self._turn, self._ending
        for i, call in enumerate(self.callbacks.listeners[self.training][event]):
            self._turn, self._ending = i, cancel
            try:
                call()
            except CancelException as another:
                self._check_cancel(another, call, event)
                if cancel is None or another.width > cancel.width:
                    cancel = another
            except Exception as error:
                add_note(error, getattr(call, "__self__", call), event)
                raise
        self._turn, self._ending = outer
        return cancel

    @property
    def ending(self) -> CancelException | None:
        """In a closing event: the cancel that comes after it, and ends more than what closes."""
        cancel = self._ending
        return None if cancel is None or cancel.closes == self._open[-1] else cancel

    def state_dict(self, copy: Callable[[Tensor], Tensor] = copied) -> dict[str, Any]:
        """A copy of all that training depends on, as plain values and tensors.

        In a fit it can be asked for where a batch or an epoch is over: in `after_batch` of
        training, in `after_epoch`, and after the fit; and at its begin, by the last to hear of
        `before_fit`. `fit(…, resume=state)` goes on from there, in
        another process too, and ends with the same bits. `copy` makes the copy of each tensor.
        """
        epochs, batches = self.progress.epochs, self.progress.batches
        if self._closing == "after_batch" and self.training:
            batches += 1
        elif self._closing == "after_epoch":
            epochs, batches = epochs + 1, 0
        elif self._open and self._open != ["fit"]:
            raise RuntimeError(
                "the state is whole only between batches: ask for it in `after_batch` of training, "
                "in `after_epoch`, or after the fit"
            )
        if self._closing is not None:
            listeners = self.callbacks.listeners[self.training][self._closing]
            for call in listeners[self._turn + 1 :]:
                cb: Any = getattr(call, "__self__", None)
                if cb.state_dict():
                    raise RuntimeError(
                        f"the state was asked for in `{self._closing}` before "
                        f"`{type(cb).__name__}` had its turn, which is part of it; give the "
                        "callback that asks a later place: `order = Order.REPORT + 1`"
                    )
        return snapshot.capture(self, copy, batches=batches, epochs=epochs)

    @property
    def whole_step(self) -> AbstractContextManager[Any]:
        """Around what must not be cut in two by an interrupt: it waits until this is left."""
        return self._whole_steps.step

    def _span(self, name: str, closing: str | None = None) -> "_Span":
        return _Span(self, name, closing)

    def _check_cancel(self, cancel: CancelException, call: Any, event: str) -> None:
        if cancel.closes not in self._open:
            raise RuntimeError(
                f"`{type(cancel).__name__}` was raised by the callback "
                f"`{getattr(call, '__self__', call)!r}` in `{event}`, where no {cancel.closes} is "
                f"running; running are: {', '.join(self._open)}"
            ) from cancel

    def _weight(self) -> float:
        """What the gradients of this batch count in those of its step."""
        if self.progress.n_acc is None:
            return 1.0
        return self.progress.gather(batch_size(self.yb or self.xb))

    def _drop_gradients(self) -> None:
        for group in self.opt.param_groups:  # a tenth of what `opt.zero_grad` costs, and the same
            for parameter in group["params"]:
                parameter.grad = None

    def _has_gradients(self) -> bool:
        """Whether a step can change a weight: not if the backward pass was cancelled."""
        for group in self.opt.param_groups:  # the first one nearly always says it: 2 us less
            for parameter in group["params"]:
                if parameter.grad is not None:
                    return True
        return False

    def _train_batches(self) -> Iterator[Batch]:
        progress = self.progress
        begun = progress.batches
        if not begun:
            progress.gathered = 0
        dl, device = self.dls.train, self.dls.device
        in_order = _goes_in_order(dl)
        seed = mix(self.seed, _ORDER, progress.lifetime_epoch)
        start = begun % progress.n_iter  # of a pass that is over nothing is read again
        try:
            batches = _epoch_of(dl, seed, progress.lifetime_epoch, start, device)
            if self._saved is not None and begun:  # the events before this, and reading, have been
                snapshot.restore(self, self._saved, extend=self._extend)
            self._saved = None
            for batch in itertools.islice(batches, progress.n_iter - begun):
                if in_order:  # whoever read it, here or in a worker; `_seeded` sees to the others
                    seed_torch(mix(self._noise, progress.lifetime_batch), device)
                yield batch
                begun += 1
        except Exception as error:
            _add_place(error, "training", f"{begun} of epoch {progress.epochs}")
            raise
        if begun < progress.n_iter:
            if not begun:
                raise ValueError(
                    "the training loader gave no batch, though its length says "
                    f"{progress.n_iter}; a generator that has run out cannot begin again: "
                    "give `Stream` the function that makes it"
                )
            _warn_short("training", begun, progress.n_iter)

    def _valid_batches(self, dl: Any) -> Iterator[Batch]:
        progress = self.progress
        seed = mix(self.seed, _VALID, progress.lifetime_epoch)
        seed_torch(seed, self.dls.device)
        batches = _epoch_of(
            dl, seed, progress.lifetime_epoch, progress.valid_batches, self.dls.device
        )
        try:
            yield from itertools.islice(batches, progress.n_valid - progress.valid_batches)
        except Exception as error:
            _add_place(error, "validation", str(progress.valid_batches))
            raise
        if progress.valid_batches < progress.n_valid:
            _warn_short("validation", progress.valid_batches, progress.n_valid)

    @contextmanager
    def _batch_kept(self) -> Generator[None]:
        """Put the state of the running batch and pass back, for a validation inside a fit."""
        names = ("dls", "dl", "training", "xb", "yb", "pred", "loss", "has_loss", "cancelled")
        names = (*names, "metrics")
        kept = {name: getattr(self, name) for name in names}
        modes = [(module, module.training) for module in self.model.modules()]
        counts = self.progress.n_valid, self.progress.valid_batches
        try:
            yield
        finally:
            vars(self).update(kept)
            self.progress.n_valid, self.progress.valid_batches = counts
            for module, mode in modes:
                module.training = mode


def _add_place(error: Exception, which: str, batch: str) -> None:
    error.add_note(
        f"raised by the {which} loader at batch {batch}; the learner is as the batch before left it"
    )


def _warn_short(which: str, given: int, announced: int) -> None:
    warnings.warn(f"the {which} loader gave {given} of {announced} batches", stacklevel=2)


def _goes_in_order(dl: Any) -> TypeGuard[EpochLoader]:
    return isinstance(dl, EpochLoader) and callable(dl.batches)


def _epoch_of(dl: Any, seed: int, epoch: int, start: int, device: torch.device) -> Iterator[Batch]:
    """The batches of an epoch from `start` on, in an order that only seed and epoch decide."""
    if _goes_in_order(dl):
        return dl.batches(epoch, start)
    seed_torch(seed)  # torch's loaders draw their order, and their workers' seeds, at the start
    seed_loader(dl, seed)
    batches = _seeded(iter(dl), seed, device)
    next(itertools.islice(batches, start, start), None)  # it cannot begin in the middle
    return batches


def _seeded(batches: Iterator[Batch], seed: int, device: torch.device) -> Iterator[Batch]:
    """What is drawn for a batch depends on its number alone, and not on who has drawn before.

    That is: by the loader for it, and by the step on it.
    """
    for i in itertools.count():
        seed_torch(mix(seed, i), device)
        try:
            batch = next(batches)
        except StopIteration:
            return
        yield batch


class _Span:
    """A part of the loop that opens and closes: its cancel ends here, its `after_…` comes here."""

    __slots__ = ("_closing", "_loop", "_name")

    def __init__(self, loop: Loop, name: str, closing: str | None) -> None:
        self._loop = loop
        self._name = name
        self._closing = closing

    def __enter__(self) -> None:
        self._loop.cancelled = None
        self._loop._open.append(self._name)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        loop, closing = self._loop, self._closing
        if error is None and (
            closing is None or not loop.callbacks.listeners[loop.training][closing]
        ):
            loop.cancelled = None  # the usual end, and nobody listens
            loop._open.pop()
            return False
        outer = loop._closing
        try:
            if error is not None and not isinstance(error, CancelException):
                return False
            cancel = loop.cancelled = error
            if self._closing is not None:
                loop._closing = self._closing
                cancel = loop._run_closing(self._closing, error)
            if cancel is None:
                return False
            if cancel.closes == self._name:
                loop.cancelled = cancel.with_traceback(None)  # which would keep the batch alive
                return True
            if cancel.closes not in loop._open:  # raised by a model or a loss, not by a callback
                raise RuntimeError(
                    f"`{type(cancel).__name__}` was raised where no {cancel.closes} is running"
                ) from cancel
            if cancel is not error:
                raise cancel
            return False
        finally:
            loop._closing = outer
            loop._open.pop()
