"""Ctrl-C and the Stop button: at once, but never in the middle of an optimizer's step."""

import signal
import threading
from types import FrameType, TracebackType


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
