"""Worker processes that read batches, and what to say when one of them fails."""

import os
import signal
import traceback
import weakref
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, cast

import torch
from torch.multiprocessing import get_context, get_start_method
from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data._utils import signal_handling

from learnlite.data.reading import Job, Reader, name_item

_torch: Any = signal_handling  # what it does with its workers' signals is private there

_IDLE = -1


class WorkerPool:
    """A few processes that make batches of jobs, in order and ahead of time.

    It stands on torch's `DataLoader` with persistent workers: the sampler is the list of jobs,
    the dataset makes a whole batch of one.
    """

    def __init__(
        self,
        reader: Reader,
        n_workers: int,
        *,
        timeout: float,
        prefetch_factor: int,
        pin_memory: bool,
        start_method: str | None,
    ) -> None:
        self._dataset = reader.dataset
        self._timeout = timeout
        self._start_method = start_method or get_start_method()
        self._spawns = self._start_method != "fork"
        self._broken = False
        self._reading: Any = get_context(start_method).RawArray("q", [_IDLE] * n_workers)
        self._jobs = _Jobs()
        loader = DataLoader(
            cast(Any, _Jobber(Reader(reader.dataset, reader.collate, self._reading))),
            batch_size=None,
            sampler=cast(Any, self._jobs),
            collate_fn=_as_it_is,
            num_workers=n_workers,
            timeout=timeout,
            prefetch_factor=prefetch_factor,
            pin_memory=pin_memory,
            persistent_workers=True,
            multiprocessing_context=start_method,
            generator=torch.Generator(),  # else it draws from the global one
            worker_init_fn=_leave_signals,
        )
        self._processes = _Processes(loader)
        weakref.finalize(self, self._processes.end).atexit = False  # torch sees to it at exit

    @property
    def is_whole(self) -> bool:
        """Whether it can be used again: nothing went wrong, and all its processes live."""
        return not self._broken and self._processes.are_alive

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        """The batches of `jobs`; what an abandoned run has left unread is thrown away."""
        self._jobs.jobs = jobs
        try:
            for result in self._processes.results():
                if isinstance(result, _Failure):
                    raise result.error() from _RaisedInWorkerError(result.trace)
                yield result
        except GeneratorExit:
            raise
        except BaseException as error:
            if isinstance(error.__cause__, _RaisedInWorkerError):
                raise
            self._broken = True  # a process died, or Ctrl-C came while torch took a batch
            explained = self._explain(error) if isinstance(error, Exception) else None
            self._processes.end(at_once=True)
            if explained is None:
                raise
            raise explained from None

    def close(self, *, at_once: bool = False) -> None:
        """End the processes: after the batch in their hands, or at once."""
        self._processes.end(at_once=at_once)

    def _explain(self, error: Exception) -> Exception | None:
        processes = self._processes.started
        if not processes:
            error.add_note(
                "while starting the workers: they need a dataset and a `collate` function that "
                "can be sent to another process; `num_workers=0` reads in this one"
            )
            return None
        timed_out = "timed out" in str(error)
        # The end of a process may be known a moment later than that of its pipe: on a machine that
        # swaps, which is where they are killed, seconds.
        seconds = 0 if timed_out else 10 if isinstance(error, OSError | EOFError) else 1
        wait([process.sentinel for process in processes], timeout=seconds)
        for worker, process in enumerate(processes):
            if process.exitcode == 1 and self._spawns and self._reading[worker] == _IDLE:
                return RuntimeError(
                    f"worker {worker} of the loader could not start; why, it has printed above. "
                    f"Started by `{self._start_method}`, it imports the script anew: begin the "
                    'training there under `if __name__ == "__main__":`'
                )
            if process.exitcode is not None:
                return RuntimeError(
                    f"worker {worker} of the loader was ended by {_reason(process.exitcode)} while "
                    f"{self._doing(worker)}; try fewer workers (`num_workers=`), or read that item "
                    "in this process: `loader.dataset[index]`"
                )
        if not timed_out:
            return None
        doing = ", ".join(f"worker {w} is {self._doing(w)}" for w in range(len(processes)))
        return TimeoutError(
            f"the loader's workers gave no batch for {self._timeout:g} s: {doing}; give a longer "
            "`timeout` if items take that long"
        )

    def _doing(self, worker: int) -> str:
        index = self._reading[worker]
        if index == _IDLE:
            return "waiting (between two batches, or sending one)"
        return f"reading {name_item(self._dataset, index)}"


class _Processes:
    """The processes of a pool, held apart from it so that they can be ended after it.

    In the garbage of a cycle, the pipes of torch's iterator are closed before its own `__del__`
    is called, which then waits in vain, 5 s a process.
    """

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self._iterator: Any = None
        self._owner = os.getpid()

    @property
    def started(self) -> list[BaseProcess]:
        return [] if self._iterator is None else self._iterator._workers

    @property
    def are_alive(self) -> bool:
        return self._owner == os.getpid() and all(process.is_alive() for process in self.started)

    def results(self) -> Iterator[Any]:
        """The batches; the end of a process is an error here alone, where one is waited for.

        Torch raises it from a signal's handler, so anywhere: in the midst of an optimizer's step,
        or between two epochs.
        """
        with self._watched():
            self._iterator = iterator = iter(self._loader)
        for process in iterator._workers:
            process._popen.terminate = process._popen.kill  # at exit: they ignore SIGTERM
        while True:
            with self._watched():
                try:
                    result = next(iterator)
                except StopIteration:
                    return
            yield result

    @contextmanager
    def _watched(self) -> Generator[None]:
        """Let torch know the processes for a while: 3 µs."""
        iterator = self._iterator
        if iterator is not None:
            pids = tuple(process.pid for process in iterator._workers)
            _torch._set_worker_pids(id(iterator), pids)
            iterator._worker_pids_set = True
        try:
            if iterator is not None:
                _torch._error_if_any_worker_fails()
            yield
        finally:
            self._forget(self._iterator)

    @staticmethod
    def _forget(iterator: Any) -> None:
        if iterator is not None and iterator._worker_pids_set:
            iterator._worker_pids_set = False
            _torch._remove_worker_pids(id(iterator))

    def end(self, *, at_once: bool = False) -> None:
        if self._owner != os.getpid():
            _of_the_parent.append(self)  # a forked child must not end what it has inherited
            return
        iterator, self._iterator, self._loader._iterator = self._iterator, None, None
        if iterator is None:
            return
        if at_once:
            self._forget(iterator)  # no fault from now on
            for process in iterator._workers:
                process.kill()
                process.join()
            iterator._persistent_workers = False  # nobody is left to be told
            iterator._workers_status = [False] * len(iterator._workers)
        iterator._shutdown_workers()


_of_the_parent: list[_Processes] = []


class _Jobs:
    """The sampler of torch's loader: it hands out the jobs of the present run."""

    jobs: Iterable[Job] = ()

    def __iter__(self) -> Iterator[Job]:
        return iter(self.jobs)


class _Jobber:
    """The dataset of torch's loader, in the worker: its item is the batch of a job."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def __getitem__(self, job: Job) -> Any:
        info = get_worker_info()
        worker = info.id if info else 0
        try:
            return self._reader.read(job, worker)
        except Exception as error:
            error.add_note(f"in worker {worker} of the loader")
            return _Failure(error)
        finally:
            cast(Any, self._reader.reading)[worker] = _IDLE


class _Failure:
    """An error on its way from a worker to the main process, as itself where that is possible."""

    def __init__(self, error: Exception) -> None:
        self.trace = "".join(traceback.format_exception(error))
        self._text = f"`{type(error).__name__}` in a worker: {error}"
        self._notes: list[str] = list(getattr(error, "__notes__", []))
        self._pickled: bytes | None = None
        try:  # an error that cannot be sent would be lost, and the main process would wait for it
            pickled = bytes(ForkingPickler.dumps(error))
            if type(_unpickled(pickled)) is type(error):
                self._pickled = pickled
        except Exception:
            pass

    def error(self) -> Exception:
        """The error as it was raised, or a `RuntimeError` with its text."""
        error: Exception = RuntimeError(self._text)
        if self._pickled is not None:
            error = _unpickled(self._pickled)
        present = getattr(error, "__notes__", [])
        for note in self._notes:
            if note not in present:
                error.add_note(note)
        return error


class _RaisedInWorkerError(Exception):
    """The traceback in the worker, shown as the cause of the error here."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def _unpickled(error: bytes) -> Exception:
    return cast(Any, ForkingPickler).loads(error)  # our own worker's bytes


def _leave_signals(worker: int) -> None:
    """In a worker: what a terminal or a cluster sends to a whole group is for the main process.

    That ends its workers itself; one that ended first would be missed at the next batch, by an
    error in place of the interrupt.
    """
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _as_it_is(batch: Any) -> Any:
    return batch


def _reason(exitcode: int) -> str:
    """Why a process ended, in words.

    >>> _reason(-9), _reason(3)
    ('SIGKILL (often a lack of memory)', 'its exit with code 3')
    """
    if exitcode >= 0:
        return f"its exit with code {exitcode}"
    name = signal.Signals(-exitcode).name
    return f"{name} (often a lack of memory)" if name == "SIGKILL" else name
