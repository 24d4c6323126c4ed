"""The callbacks of a learner, in order, and the table of who is called at which event."""

import copy
import inspect
from collections.abc import Callable as Function
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from learnlite.callback import Callback, add_note
from learnlite.events import AROUNDS, BATCH_EVENTS, EVENTS, LOOP, CancelException
from learnlite.types import listify

if TYPE_CHECKING:
    from learnlite.learner import Learner

T = TypeVar("T")


class Callbacks:
    """The callbacks of a learner, in the order in which they are called."""

    def __init__(self, learn: "Learner", cbs: Any = None) -> None:
        self._learn = learn
        self._cbs: list[Callback] = []
        self.add(cbs)

    def __iter__(self) -> Iterator[Callback]:
        return iter(self._cbs)

    def __len__(self) -> int:
        return len(self._cbs)

    def __repr__(self) -> str:
        return repr(self._cbs)

    def add(self, cbs: Any) -> list[Callback]:
        """Add callbacks, given as instance, class or list of them; gives those added."""
        added = [self._instance(cb) for cb in listify(cbs)]
        for i, cb in enumerate(added):
            if any(cb is other for other in (*self._cbs, *added[:i])):
                raise ValueError(f"`{cb!r}` is given twice; each callback can be there once")
        for cb in added:
            cb.learn = self._learn
        self._cbs = sorted(
            [*self._cbs, *added], key=lambda cb: cb.order
        )  # stable: ties keep their order
        self.rebuild()
        return added

    def remove(self, cbs: Any) -> list[Callback]:
        """Take callbacks away, given as instance, class or list of them; gives those removed."""
        removed: list[Callback] = []
        for given in listify(cbs):
            matches = [
                cb
                for cb in self._cbs
                if cb is given or (isinstance(given, type) and isinstance(cb, given))
            ]
            if not matches:
                there = ", ".join(f"`{cb!r}`" for cb in self._cbs)
                raise ValueError(f"`{given!r}` is not among the callbacks: {there}")
            removed += [cb for cb in matches if cb not in removed]
        self._cbs = [cb for cb in self._cbs if not any(cb is gone for gone in removed)]
        self.rebuild()
        return removed

    @contextmanager
    def added(self, cbs: Any) -> Generator[list[Callback]]:
        """With these callbacks, for a while."""
        added = [self._instance(cb) for cb in listify(cbs)]
        try:
            self.add(added)
            yield added
        finally:
            self._cbs = [cb for cb in self._cbs if not any(cb is gone for gone in added)]
            self.rebuild()

    @contextmanager
    def removed(self, cbs: Any) -> Generator[list[Callback]]:
        """Without these callbacks, for a while; then they stand where they stood."""
        before = list(self._cbs)
        removed = self.remove(cbs)
        try:
            yield removed
        finally:
            now = [cb for cb in before if cb in removed or cb in self._cbs]
            now += [cb for cb in self._cbs if cb not in before]
            self._cbs = sorted(now, key=lambda cb: cb.order)
            self.rebuild()

    @contextmanager
    def unchanged(self) -> Generator[None]:
        """Give back the callbacks' attributes, and what they keep, as they were."""
        kept = [(cb, dict(vars(cb)), copy.deepcopy(cb.state_dict())) for cb in self._cbs]
        contents = [
            (value, copy.copy(value))
            for cb in self._cbs
            for value in vars(cb).values()
            if isinstance(value, list | dict | set)
        ]
        try:
            yield
        finally:
            for value, content in contents:
                value.clear()
                value.extend(content) if isinstance(value, list) else value.update(content)
            for cb, attributes, state in kept:
                vars(cb).clear()
                vars(cb).update(attributes)
                cb.load_state_dict(state)

    def find(self, kind: type[T]) -> T | None:
        """The first callback of this type, or None.

        This is how one callback reaches another; there is no reaching by name.
        """
        return next((cb for cb in self._cbs if isinstance(cb, kind)), None)

    def around(self, span: str) -> ExitStack:
        """What the callbacks want around `span`, entered in order."""
        name = f"around_{span}"
        with ExitStack() as stack:
            for cb in self._cbs:
                if cb.run and _overrides(cb, name):
                    with _names_callback(cb, name):
                        stack.enter_context(getattr(cb, name)())
            return stack.pop_all()
        raise RuntimeError(f"an `{name}` swallowed the error of another")

    def rebuild(self) -> None:
        """Make the table anew: who is called at each event, in training and in validation."""
        self.listeners: dict[bool, dict[str, tuple[Function[[], None], ...]]] = {}
        for training in (True, False):
            self.listeners[training] = {
                event: tuple(
                    getattr(cb, event)
                    for cb in self._cbs
                    if cb.run
                    and _overrides(cb, event)
                    and (event not in BATCH_EVENTS or (cb.run_train if training else cb.run_valid))
                )
                for event in EVENTS
            }

    def bind(self) -> None:
        """Make every callback this learner's: one that several share belongs to who runs."""
        for cb in self._cbs:
            cb.learn = self._learn

    def wake(self) -> None:
        """Let every callback run again: a `run = False` lasts until the end of the fit."""
        for cb in self._cbs:
            vars(cb).pop("_run", None)
        self.rebuild()

    def check(self) -> None:
        """Refuse callbacks that drive one thing, or that say they cannot stand together."""
        drivers: dict[str, Callback] = {}
        for cb in self._cbs:
            for thing in cb.controls:
                other = drivers.setdefault(thing, cb)
                if other is not cb:
                    raise ValueError(
                        f"{_brief(other)} and {_brief(cb)} both drive `{thing}`; "
                        f"{_way_out(other, cb)}"
                    )
        for cb in self._cbs:
            for thing, reason in cb.refuses.items():
                other = drivers.get(thing, cb)
                if other is not cb:
                    raise ValueError(
                        f"{_brief(cb)} and {_brief(other)} do not go together: {reason}; "
                        f"{_way_out(cb, other)}"
                    )

    def describe(self) -> str:
        """The loop, with the callbacks that listen at each event.

        >>> from learnlite.callback import on
        >>> print(Callbacks(None, [on(after_loss=print)]).describe())
        fit
          epoch
            train
              batch
                after_loss: on(after_loss)
            validate
              batch
                after_loss: on(after_loss)
        """
        lines: list[str] = []
        for depth, name, training in LOOP:
            indent = "  " * depth
            if name in EVENTS:
                calls = self.listeners[training][name]
                heard = [_shown(getattr(call, "__self__", call)) for call in calls]
            elif name in AROUNDS:
                heard = [_shown(cb) for cb in self._cbs if cb.run and _overrides(cb, name)]
            else:
                lines.append(indent + name)
                continue
            if heard:
                lines.append(f"{indent}{name}: {', '.join(heard)}")
        return "\n".join(lines)

    def _instance(self, cb: Any) -> Callback:
        made = _made(cb) if isinstance(cb, type) and issubclass(cb, Callback) else cb
        if not isinstance(made, Callback):
            raise TypeError(
                f"a callback is an instance or a class of `Callback`, got {cb!r}; "
                "to make one of functions use `on(after_epoch=…)`"
            )
        return made


def _shown(cb: Any) -> str:
    """A callback by its class; one made `on` functions by its events."""
    return repr(cb) if type(cb).__name__ == "on" else type(cb).__name__


def _made(cls: type[Callback]) -> Callback:
    """An instance of a class that was given in place of one."""
    try:
        return cls()
    except TypeError as error:
        needed = [
            name
            for name, parameter in inspect.signature(cls).parameters.items()
            if parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        ]
        if not needed:
            raise
        raise TypeError(
            f"`{cls.__name__}` needs arguments, so the class alone does not do; pass an instance: "
            f"`{cls.__name__}({', '.join(needed)})`"
        ) from error


def _brief(cb: Callback) -> str:
    """A callback as a message names it: with the arguments that are not the usual ones."""
    made_by = vars(cb).get("made_by")
    if made_by is not None:
        return f"`{made_by}`"
    parameters = inspect.signature(type(cb).__init__).parameters
    shown = [
        f"{name}={vars(cb)[name]!r}"
        for name, parameter in parameters.items()
        if name in vars(cb) and repr(vars(cb)[name]) != repr(parameter.default)
    ]
    return f"`{type(cb).__name__}({', '.join(shown)})`"


def _way_out(*cbs: Callback) -> str:
    makers = [vars(cb).get("made_by") for cb in cbs]
    maker = next((maker for maker in makers if maker), None)
    if maker is None:
        return "keep one of them"
    return f"leave the callback out, or train by `learn.fit` instead of `{maker}`"


def _overrides(cb: Callback, name: str) -> bool:
    return getattr(type(cb), name) is not getattr(Callback, name) or name in vars(cb)


@contextmanager
def _names_callback(cb: Callback, event: str) -> Generator[None]:
    try:
        yield
    except CancelException:
        raise
    except Exception as error:
        add_note(error, cb, event)
        raise
