"""The whole state of training in files, so that a fit that was killed goes on where it was."""

import math
import shutil
import tempfile
import time
import warnings
from collections.abc import Callable as Function
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from learnlite.callback import Callback
from learnlite.data.locks import locked
from learnlite.events import Order
from learnlite.interrupt import Stopped, StopSignals
from learnlite.nested import take_apart
from learnlite.state_copy import HostCopy, Parked, with_copies
from learnlite.state_folder import StateFolder, head_of, told_position
from learnlite.tracking import Comparison, lower_is_better
from learnlite.types import check_number

_MINUTES = 5.0  # between two checkpoints, if nothing is said
_PATIENCE = 3.0  # seconds in which a killed process gives its lock back
_SHORT = 1.0  # seconds of a validation that a signal may wait for


class Checkpoint(Callback):
    """Saves the whole state of training in `folder`, from which `fit(…, resume=True)` goes on.

    It saves after `every` so many batches, after `every_epochs` epochs, and `every_minutes`; if
    none of them is given, after each epoch and every 5 minutes; and always as the fit begins and
    ends. A fit that is killed and resumed ends with the bits of one that was not. The folder,
    relative to the learner's path, keeps the `keep` newest states, the end of each fit of the run,
    and with `best="accuracy"` that of the best epoch (`comp` as in `Tracker`). With `background` a
    thread writes, and training waits for the copy only. A full disk is warned of, no more.

    Ctrl-C, SIGTERM and SIGUSR1 wait for the end of the batch; its state is saved, and the fit ends
    (`StopSignals`). A second one does not wait.

    >>> import tempfile, torch
    >>> from learnlite import DataLoaders, Learner
    >>> from learnlite.data import two_moons
    >>> def train(folder):
    ...     dls = DataLoaders.from_tensors(*two_moons(200), bs=32, seed=1, device="cpu")
    ...     learn = Learner(dls, torch.nn.Linear(2, 2), path=folder)
    ...     with learn.no_bar():
    ...         learn.fit(2, 0.1, cbs=Checkpoint("run1"), resume=True)
    ...     return learn.validate()
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     train(folder) == train(folder)
    nothing to resume in ...run1; training begins
    ...
    nothing to train: the fit of ... is done: 2 of 2 epochs
    True
    """

    order = Order.REPORT + 1000  # after all whose state it saves

    way_on = ", and `resume=True` goes on there"
    """What is said of a state that a signal has had saved; a program may have its own words."""

    def __init__(
        self,
        folder: str | Path = "checkpoints",
        *,
        every: int | None = None,
        every_epochs: int | None = None,
        every_minutes: float | None = None,
        keep: int = 2,
        best: str | None = None,
        comp: Comparison = None,
        background: bool = False,
    ) -> None:
        _check_folder_name(folder)
        for name, count in (("every", every), ("every_epochs", every_epochs), ("keep", keep)):
            if count is None:
                continue
            what = {"every": "batches", "every_epochs": "epochs", "keep": "files"}[name]
            if isinstance(count, bool) or not isinstance(count, int) or count < 1:
                raise ValueError(f"`{name}` counts {what}, from 1 on, got {count!r}")
        if every_minutes is not None:
            check_number("every_minutes", every_minutes)
            if not every_minutes > 0:
                raise ValueError(f"`every_minutes` must be above 0, got {every_minutes}")
        if best is not None:
            lower_is_better(best, comp)
        self.folder = folder
        self.every = every
        self.every_epochs = every_epochs
        self.every_minutes = every_minutes
        self.keep = keep
        self.best = best
        self.comp: Comparison = comp
        self.background = background
        self._states: StateFolder | None = None
        self._writing: Future[None] | None = None
        self._told = self._tried = self._owed = self.begins = False
        self._failure: str | None = None
        self._error: Exception | None = None
        self._clock = self._valid_began = 0.0
        self._valid_seconds = math.inf
        self._parked: Parked | None = None
        self._leaves = False
        self._written: tuple[Path, dict[str, Any]] | None = None
        self.stops = StopSignals()
        self.is_last = True

    @property
    def path(self) -> Path:
        """The folder."""
        return Path(self.learn.path) / self.folder

    @property
    def newest_path(self) -> Path | None:
        """The file of the newest state, for `resume=`; None if there is none."""
        files = StateFolder(self.path).files()
        return files[-1] if files else None

    @property
    def best_path(self) -> Path | None:
        """The file with the state of the best epoch of the learner's run; None if there is none."""
        best = self._best(StateFolder(self.path))
        return None if best is None else best[0]

    # Around a fit: the learner's `fit` opens it, as the end is saved when all callbacks have left.

    @contextmanager
    def opened(self) -> Generator[StateFolder]:
        """Hold the folder for a fit: nobody else writes to it, and what was half written goes."""
        path = self.path.absolute()  # wherever the process goes meanwhile
        with ExitStack() as stack:
            self._try_to_write(path)
            self._lock(path, stack)
            states = self._states = StateFolder(path)
            states.remove_parts()
            self._told = self._tried = self._owed = False
            self._failure = self._error = self._written = None
            self._clock = time.perf_counter()
            self._valid_seconds = math.inf
            try:
                yield states
            finally:
                if self._writing is not None:
                    self._writing.result()
                self._writing = self._states = None

    def save_end(self) -> None:
        """Save the state of a fit that is over."""
        self._save()
        self._tell_stop()

    def _try_to_write(self, path: Path) -> None:
        """Find out before training whether a file can be written."""
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        except OSError as error:
            raise OSError(
                f"`Checkpoint` cannot write to {path} ({error.strerror or error}); give it another "
                "`folder`, or the learner another `path`"
            ) from error

    def _lock(self, path: Path, stack: ExitStack) -> None:
        def refuse() -> None:
            raise _HeldError

        until = time.monotonic() + _PATIENCE
        while True:
            try:
                stack.enter_context(locked(path / "states", refuse))
                return
            except _HeldError:
                if time.monotonic() > until:
                    break
            time.sleep(0.1)
        raise BlockingIOError(
            f"another fit writes its checkpoints to {path} at this moment, in this process or "
            "another; wait for its end, or give this one another `folder`"
        )

    # When

    def before_fit(self) -> None:
        if self._states is not None and self.begins:
            self._save()

    @contextmanager
    def around_fit(self) -> Generator[None]:
        try:
            yield
        except (KeyboardInterrupt, Stopped):
            if self._leaves and self._parked is not None:  # in validation, which is over by now
                self._save(parked=self._parked)
                self._tell_stop()
            raise
        finally:
            self._parked, self._leaves = None, False

    def after_batch(self) -> None:
        if not self.learn.training:
            self._leave_validation()
        if self._states is None or self.learn.ending is not None or not self.learn.training:
            return
        if not self._tried:
            self._tried = True
            take_apart(self.learn.state_dict(copy=lambda t: t))  # what cannot be saved is told now
        done = self.learn.train_iter + 1
        minutes = self._minutes
        if self.stops.came is not None:
            self._save()
            self._stop(self.learn.progress.finish_batch)
        elif (
            self._owed
            or (self.every and done % self.every == 0)
            or (minutes is not None and time.perf_counter() - self._clock >= 60 * minutes)
        ):
            self._save_soon()
        n_left = self.learn.n_iter - self.learn.iter - 1
        if not n_left and self.learn.progress.n_valid and self._valid_seconds > _SHORT:
            self._parked = Parked(self.learn.state_dict)

    def after_train(self) -> None:
        if self._parked is not None and not self._parked.is_intact():
            self._parked = None
        self._valid_began = time.perf_counter()

    def after_validate(self) -> None:
        self._parked = None
        self._valid_seconds = time.perf_counter() - self._valid_began

    def after_epoch(self) -> None:
        if self._states is None or self.learn.ending is not None:
            return
        epochs = self._epochs
        due = epochs is not None and (self.learn.epoch + 1) % epochs == 0
        stops = self.stops.came is not None
        if stops or due or (self.best is not None and self._is_best()):
            self._save(value=self._value())
        if stops:
            self._stop(self.learn.progress.finish_epoch)

    @property
    def _epochs(self) -> int | None:
        given = (self.every, self.every_epochs, self.every_minutes)
        return 1 if given == (None, None, None) else self.every_epochs

    @property
    def _minutes(self) -> float | None:
        given = (self.every, self.every_epochs, self.every_minutes)
        return _MINUTES if given == (None, None, None) else self.every_minutes

    # When a signal has come

    def _leave_validation(self) -> None:
        """End it after this batch, if what training came to is still there to be saved."""
        if self.stops.came and self._parked and self._parked.is_intact(but_weights=True):
            self._leaves = True
            if self.is_last:
                self.stops.go()

    def _stop(self, count: Function[[], None]) -> None:
        self._tell_stop()
        if self.is_last:
            count()  # which the loop does not come to
            self.stops.go()

    def _tell_stop(self) -> None:
        self._finish_writing()
        if self.stops.came is not None:
            where = "nothing could be saved"
            if self._written is not None:
                path, head = self._written
                where = f"{told_position(head)} is saved in {path}{self.way_on}"
            self.learn.say(f"stopped by {self.stops.came.name}: {where}")

    # What is best

    def _value(self) -> float | None:
        if self.best is None:
            return None
        value = self.learn.recorder.last(self.best)
        return value if math.isfinite(value) else None

    def _is_best(self) -> bool:
        value, best = self._value(), self._best(self._states)
        if value is None or best is None:
            return value is not None
        return value < best[1] if lower_is_better(self.best or "", self.comp) else value > best[1]

    def _best(self, states: StateFolder | None) -> tuple[Path, float] | None:
        """The file and the value of the best epoch of this run, the first of equals."""
        if self.best is None or states is None:
            return None
        found = [
            (kept.path, kept.head["value"])
            for kept in states.kept()
            if kept.head.get("run") == self.learn.run
            and kept.head.get("monitor") == self.best
            and isinstance(kept.head.get("value"), int | float)
        ]
        if not found:
            return None
        choose = min if lower_is_better(self.best, self.comp) else max
        return choose(found, key=lambda pair: pair[1])

    # Writing

    def _save_soon(self) -> None:
        """Save now, or when the thread has written what came before."""
        self._owed = self._writing is not None and not self._writing.done()
        if not self._owed:
            self._save()

    def _save(self, *, value: float | None = None, parked: Parked | None = None) -> None:
        self._finish_writing()
        self._owed = False
        states = self._states
        assert states is not None
        copy = HostCopy(own=self.background)
        state = with_copies(parked.state, copy) if parked else self.learn.state_dict(copy=copy)
        head = head_of(state) | {"monitor": self.best, "value": value}
        copy.begun()
        if self.background:
            thread = ThreadPoolExecutor(1)
            self._writing = thread.submit(self._write, states, state, head, copy)
            thread.shutdown(wait=False)
        else:
            self._write(states, state, head, copy)
            self._tell()
        self._clock = time.perf_counter()

    def _write(
        self, states: StateFolder, state: dict[str, Any], head: dict[str, Any], copy: HostCopy
    ) -> None:
        """Write a state and remove the old ones; a disk that fails must not end the training."""
        try:
            copy.wait()
            self._written = states.write(state, head, copy.kind_of), head
            states.remove_all_but(self._staying(states, head["run"]))
        except OSError as error:
            self._failure = self._told_of(error, states, copy.n_bytes, head)
        except Exception as error:
            self._error = error  # raised where training is: a thread has nobody to tell
        else:
            self._told = False

    def _staying(self, states: StateFolder, run: str) -> set[Path]:
        """The newest, the ends of the run's fits, the best; and the newest of another run."""
        ours = [kept for kept in states.kept() if kept.head.get("run") == run]
        others = [kept for kept in states.kept() if kept.head.get("run") != run]
        ends = {kept.head.get("fit"): kept for kept in ours if kept.head.get("over")}
        stay = [*ours[-self.keep :], *ends.values(), *others[-1:]]
        best = self._best(states)
        return {kept.path for kept in stay} | ({best[0]} if best else set())

    def _finish_writing(self) -> None:
        if self._writing is not None:
            self._writing.result()  # an interrupt leaves this, and the thread as it is
            self._writing = None
            self._tell()

    def _tell(self) -> None:
        """Warn of a checkpoint that could not be written, once until one can be."""
        failure, self._failure = self._failure, None
        error, self._error = self._error, None
        if error is not None:
            raise error
        if failure is not None and not self._told:
            self._told = True
            warnings.warn(failure, stacklevel=2)

    def _told_of(self, error: OSError, states: StateFolder, need: int, head: dict[str, Any]) -> str:
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error
        try:
            free = f"{shutil.disk_usage(states.path).free / 1e6:,.1f} MB"
        except OSError:
            free = "nothing"
        files = states.files()
        left = f"the last one that is written is {files[-1].name}" if files else "there is none yet"
        return (
            f"no checkpoint of {told_position(head)} in {states.path}: "
            f"{cause.strerror or cause}; it needs {need / 1e6:,.1f} MB and {free} is free. "
            f"Training goes on; {left}"
        )


class _HeldError(Exception):
    """Another holds the lock."""


def _check_folder_name(folder: Any) -> None:
    if not isinstance(folder, str | Path):
        raise TypeError(f"`folder` names the folder of the checkpoints, got {folder!r}")
