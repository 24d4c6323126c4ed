"""Ctrl-C, the Stop button and the signals of a cluster: never in the middle of a step."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, NoReturn


class Stopped(SystemExit):
    """A signal has ended a fit whose `Checkpoint` has saved its state.

    Nobody need catch it: a script then exits with 128 and the number of the signal, as shells
    count: 143 for SIGTERM, 138 for SIGUSR1 on Linux.

    >>> Stopped(signal.SIGTERM).code
    143
    """

    def __init__(self, signum: signal.Signals) -> None:
        super().__init__(128 + signum)
        self.signal = signum


class StopSignals:
    """The signals that ask a fit with a `Checkpoint` to stop, as clusters and people send them.

    The first waits until the batch is over and its state saved; whoever did that calls `go`. The
    second does at once what it would have done without this. A handler of the user's own stays,
    and in another thread than the main one nothing changes.

    >>> stops = StopSignals()
    >>> try:
    ...     with stops:
    ...         signal.raise_signal(signal.SIGTERM)
    ...         print("saving, for", stops.came.name)
    ...         stops.go()
    ... except SystemExit as end:
    ...     print(end.code)
    saving, for SIGTERM
    143
    """

    names = ("SIGTERM", "SIGUSR1", "SIGINT")

    def __init__(self) -> None:
        self.came: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopSignals":
        self.came = None
        if threading.current_thread() is threading.main_thread():
            for name in self.names:
                signum = getattr(signal, name, None)  # Windows has no SIGUSR1
                if signum is not None and _is_free(signum):
                    self._before[signum] = signal.signal(signum, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._put_back()
        if kind is None and self.came is not None:
            self.go()  # it came after the last batch

    def go(self) -> NoReturn:
        """End the fit, as the signal asks: all is saved."""
        assert self.came is not None
        if self.came == signal.SIGINT:
            raise KeyboardInterrupt
        raise Stopped(self.came)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.came is None:
            self.came = signal.Signals(signum)
        else:
            self._put_back()
            signal.raise_signal(signum)

    def _put_back(self) -> None:
        while self._before:
            signum, handler = self._before.popitem()
            if signal.getsignal(signum) == self._handle:  # else the user has set one meanwhile
                signal.signal(signum, handler)


def _is_free(signum: signal.Signals) -> bool:
    """Whether no handler but Python's or our own would be put aside."""
    handler = signal.getsignal(signum)
    if signum == signal.SIGINT:
        ours = isinstance(getattr(handler, "__self__", None), WholeSteps)
        return ours or handler is signal.default_int_handler
    return handler is signal.SIG_DFL


class WholeSteps:
    """Puts an interrupt off to the end of the step during which it came.

    An interrupt between two parameter updates would leave a model that no training gives. Around a
    fit this takes the place of Python's own handler; around each step it holds the interrupt back.

    >>> guard = WholeSteps()
    >>> with guard:
    ...     with guard.step:
    ...         pass
    """

    def __init__(self) -> None:
        self._depth = 0
        self._came = False
        self._installed = False
        self.step = _Step(self)
        self.stepping = False
        self.torn = False
        """Whether an error has cut a step in two since the outermost fit began."""

    def __enter__(self) -> "WholeSteps":
        self._depth += 1
        if self._depth == 1:
            self.torn = False
        is_main = threading.current_thread() is threading.main_thread()
        if (
            self._depth == 1
            and is_main
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(self, *_: object) -> None:
        self._depth -= 1
        if self._depth == 0 and self._installed:
            self._installed = False
            if signal.getsignal(signal.SIGINT) == self._handle:
                signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, signum: int, frame: FrameType | None) -> None:
        if self.stepping and not self._came:
            self._came = True  # a second interrupt does not wait
        else:
            self._came = False
            signal.default_int_handler(signum, frame)

    def begin_step(self) -> None:
        """From here on an interrupt waits."""
        self._came = False
        self.stepping = True

    def end_step(self) -> None:
        """The step is whole: let the interrupt that came meanwhile through."""
        self.stepping = False
        if self._came:
            self._came = False
            raise KeyboardInterrupt


class _Step:
    """Around one step: two attribute writes, no more."""

    __slots__ = ("_guard",)

    def __init__(self, guard: WholeSteps) -> None:
        self._guard = guard

    def __enter__(self) -> None:
        self._guard.begin_step()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._guard.end_step()
        else:
            self._guard.stepping = False
            self._guard.torn = True
