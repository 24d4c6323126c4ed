"""The callback protocol: what a callback may do, and the table of who is called at which event.

The events themselves, and what is promised of them, stand in `events.py`.
"""

import difflib
import inspect
import re
from collections.abc import Callable as Function
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from learnlite.events import AROUNDS, EVENTS, Order

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.optim import Optimizer

    from learnlite.data import DataLoaders
    from learnlite.learner import Learner

T = TypeVar("T")

# What looks like an event: ours misspelled, and the names that other libraries give theirs.
_FOREIGN = re.compile(
    "(before|after|around)_|(on|begin|end)_(fit|train|epoch|batch|valid|step|backward|loss|pred)"
)


# Where to find what fastai's callbacks have on `self`.
_ELSEWHERE = {
    "x": "self.xb[0]",
    "y": "self.yb[0]",
    "loss_func": "self.learn.loss_func",
    "loss_grad": "self.loss",
    "recorder": "self.learn.recorder",
    "metrics": "self.learn.metrics",
    "cbs": "self.learn.cbs",
    "path": "self.learn.path",
    "lr": "self.learn.lr",
    "smooth_loss": "self.learn.recorder.smooth_loss()",
}


class _OfLearner(Generic[T]):
    """State of the loop that a callback reads and writes on itself, kept by the learner.

    The loop's counts are read only here: `self.iter = 0`, meant as a counter of one's own, would
    move the loop and every schedule with it, without a word.
    """

    def __init__(self, *, count: bool = False) -> None:
        self.count = count

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, cb: None, owner: type) -> "_OfLearner[T]": ...
    @overload
    def __get__(self, cb: "Callback", owner: type) -> T: ...
    def __get__(self, cb: "Callback | None", owner: type) -> "_OfLearner[T] | T":
        return self if cb is None else getattr(self._learn(cb), self.name)

    def __set__(self, cb: "Callback", value: T) -> None:
        learn = self._learn(cb)
        if self.count:
            raise AttributeError(
                f"`{self.name}` is the loop's own count; give yours another name, or write "
                f"`self.learn.{self.name}` to move the loop itself"
            )
        setattr(learn, self.name, value)

    def _learn(self, cb: "Callback") -> "Learner":
        learn = vars(cb).get("learn")
        if learn is None:
            raise AttributeError(
                f"`{type(cb).__name__}.{self.name}` is the learner's, and this callback has none "
                "yet: use it in an event, or give an attribute of your own another name"
            )
        return learn


class Callback:
    """What happens at the events of the fit loop; override the methods of those you want.

    The state of the loop can be read and written on `self` and is the learner's: `xb yb pred loss
    model opt dls dl training`; its counts are read there, `epoch n_epoch iter n_iter train_iter
    pct_train`. Everything else is at `self.learn`. An event that no callback overrides is free.

    >>> from learnlite.events import CancelFitException
    >>> class StopAt(Callback):
    ...     def __init__(self, loss: float):
    ...         self.target = loss
    ...
    ...     def after_epoch(self):
    ...         if self.learn.recorder.last("valid_loss") < self.target:
    ...             raise CancelFitException("good enough")
    """

    learn: "Learner"
    order: int = Order.NORMAL
    """Where it stands among the others: a place of `Order` or any integer."""
    persist: tuple[str, ...] = ()
    """Names of the attributes that a checkpoint keeps: plain values and tensors."""
    optional: bool = False
    """Whether a fit may be resumed without it, or with it anew, though it keeps a state."""
    controls: Iterable[str] = ()
    """What it drives alone (`"lr"`): two callbacks that drive one thing are refused."""
    refuses: Mapping[str, str] = MappingProxyType({})
    """Things that it cannot stand beside a callback that drives them, and the reason why."""
    of_weights: bool = False
    """Whether what it keeps is made of the weights, and goes back with them: an average."""
    run_train: bool = True
    """Whether the events of training batches reach it."""
    run_valid: bool = True
    """Whether the events of validation batches reach it."""

    xb: "_OfLearner[Any]" = _OfLearner()
    yb: "_OfLearner[tuple[Any, ...]]" = _OfLearner()
    pred: "_OfLearner[Any]" = _OfLearner()
    loss: "_OfLearner[Tensor]" = _OfLearner()
    model: "_OfLearner[nn.Module]" = _OfLearner()
    opt: "_OfLearner[Optimizer]" = _OfLearner()
    dls: "_OfLearner[DataLoaders]" = _OfLearner()
    dl: "_OfLearner[Any]" = _OfLearner()
    training: "_OfLearner[bool]" = _OfLearner()
    epoch: "_OfLearner[int]" = _OfLearner(count=True)
    n_epoch: "_OfLearner[int]" = _OfLearner(count=True)
    iter: "_OfLearner[int]" = _OfLearner(count=True)
    n_iter: "_OfLearner[int]" = _OfLearner(count=True)
    train_iter: "_OfLearner[int]" = _OfLearner(count=True)
    pct_train: "_OfLearner[float]" = _OfLearner(count=True)

    def before_fit(self) -> None:
        """The fit begins: optimizer and progress are set, and no loader has been read."""

    def before_epoch(self) -> None:
        """An epoch begins."""

    def before_train(self) -> None:
        """The training pass begins: the model is in training mode, `training` is true."""

    def before_batch(self) -> None:
        """`xb` and `yb` are on the device, and may be replaced: the model gets what is there."""

    def after_pred(self) -> None:
        """`pred` is set, and may be replaced: the loss gets what stands there."""

    def after_loss(self) -> None:
        """`loss` is set, and may be replaced: its gradient is what the model gets. Never scaled."""

    def before_backward(self) -> None:
        """The backward pass of `loss` comes next."""

    def after_backward(self) -> None:
        """The gradients of this batch are in; with accumulation, of the window so far."""

    def before_step(self) -> None:
        """The gradients are whole and unscaled, and may be changed; the step is next."""

    def after_step(self) -> None:
        """The weights have changed."""

    def after_batch(self) -> None:
        """The batch is over. If it was cancelled, `loss` or `pred` may be None."""

    def after_train(self) -> None:
        """The training pass is over."""

    def before_validate(self) -> None:
        """The validation pass begins: the model is in evaluation mode, gradients are off."""

    def after_validate(self) -> None:
        """The validation pass is over."""

    def after_epoch(self) -> None:
        """The epoch is over: `learn.recorder` has its row."""

    def after_fit(self) -> None:
        """The fit is over; `learn.cancelled` tells whether and how it was cut short."""

    def around_fit(self) -> AbstractContextManager[Any]:
        """Entered before `before_fit`, left after `after_fit` and on every error."""
        return ExitStack()

    def around_train(self) -> AbstractContextManager[Any]:
        """Entered before `before_train`, left after `after_train`, on errors too."""
        return ExitStack()

    def around_validate(self) -> AbstractContextManager[Any]:
        """Entered before `before_validate`, left after `after_validate`, on errors too."""
        return ExitStack()

    def around_save(self) -> AbstractContextManager[Any]:
        """Entered while `learn.save` writes the weights, which may be others meanwhile."""
        return ExitStack()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, value in vars(cls).items():
            _check_member(cls, name, value)

    @property
    def name(self) -> str:
        """The class's name in snake case, without a final `Callback`.

        >>> class EarlyStoppingCallback(Callback): ...
        >>> EarlyStoppingCallback().name
        'early_stopping'
        """
        name = re.sub("Callback$", "", type(self).__name__) or "Callback"
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()

    @property
    def run(self) -> bool:
        """Whether events reach this callback; set false, it is silent until the end of the fit."""
        return vars(self).get("_run", True)

    @run.setter
    def run(self, value: bool) -> None:
        self._run = bool(value)
        learn = vars(self).get("learn")
        if learn is not None:
            learn.callbacks.rebuild()

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Say where to find what fastai's callbacks have on `self`; nothing is delegated."""
            if hasattr(type(self), name):  # the learner's, and there is none: that is told there
                return object.__getattribute__(self, name)
            elsewhere = _ELSEWHERE.get(name)
            advice = f"; write `{elsewhere}`" if elsewhere else ""
            raise AttributeError(f"`{type(self).__name__}` has no attribute `{name}`{advice}")

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of this callback: the attributes named in `persist`."""
        return {name: getattr(self, name) for name in self.persist if name in vars(self)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value)

    def __repr__(self) -> str:
        given = (p for p in inspect.signature(type(self).__init__).parameters if p in vars(self))
        return (
            f"{type(self).__name__}({', '.join(f'{name}={vars(self)[name]!r}' for name in given)})"
        )


def _check_member(cls: type, name: str, value: Any) -> None:
    """Refuse what looks like an event and is none: it would never be called."""
    if name in ("run_after", "run_before"):
        raise TypeError(
            f"`{cls.__name__}.{name}` has no effect; give it a place by `order`, "
            "for example `order = Order.RECORD + 1` to stand after the recorder"
        )
    if not callable(value) or name.startswith("_"):
        return
    if name in EVENTS:
        parameters = list(inspect.signature(value).parameters.values())
        if (
            sum(
                p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
                for p in parameters
            )
            > 1
        ):
            raise TypeError(
                f"`{cls.__name__}.{name}` takes arguments, but an event has none; use `self.learn`"
            )
    elif name in AROUNDS:
        if inspect.isgeneratorfunction(value):
            raise TypeError(
                f"`{cls.__name__}.{name}` is a generator; decorate it with `@contextmanager`"
            )
    elif name.startswith("after_cancel_"):
        raise TypeError(
            f"`{cls.__name__}.{name}` is not an event; write `after_{name[13:]}` "
            "and look at `self.learn.cancelled`"
        )
    elif _FOREIGN.match(name) or difflib.get_close_matches(name, EVENTS, 1, 0.85):
        raise TypeError(
            f"`{cls.__name__}.{name}` is not an event{did_you_mean(name, EVENTS + AROUNDS)}"
        )


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest known one, or all of them.

    >>> did_you_mean("after_los", EVENTS)
    '; did you mean `after_loss`?'
    """
    words = list(words)
    close = difflib.get_close_matches(word, words, 1, 0.6)
    return (
        f"; did you mean `{close[0]}`?"
        if close
        else f"; there {'is' if len(words) == 1 else 'are'} " + ", ".join(f"`{w}`" for w in words)
    )


def on(*, order: int = Order.NORMAL, **events: Function[..., Any]) -> Callback:
    """A callback made of functions, each given the learner at its event.

    >>> on(after_epoch=lambda learn: print(learn.epoch))
    on(after_epoch)
    """
    for name in events:
        if name not in EVENTS:
            raise TypeError(f"`{name}` is not an event{did_you_mean(name, EVENTS)}")

    def method(function: Function[..., Any]) -> Function[[Callback], None]:
        return lambda self: function(self.learn)

    members: dict[str, Any] = {name: method(function) for name, function in events.items()}

    def shown(cb: Callback) -> str:
        return f"on({', '.join(events)})"

    members |= {"order": order, "__repr__": shown}
    return type("on", (Callback,), members)()


def add_note(error: BaseException, cb: object, event: str) -> None:
    """Say on `error` which callback it came from, and at which event."""
    error.add_note(f"raised by the callback `{cb!r}` in `{event}`")
