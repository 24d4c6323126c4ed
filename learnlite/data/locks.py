"""One process at a time: a lock that the system lets go of when its holder is killed."""

import os
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

_PAUSE = 0.1  # seconds between two tries
_held: set[int] = set()


def _let_go() -> None:
    """In a forked process, as a loader's worker: it must not hold what its parent held."""
    for file in _held:
        with suppress(OSError):
            os.close(file)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(path: Path, waiting: Callable[[], None] | None = None) -> Generator[None]:
    """Hold the lock of `path`: its hidden neighbour `.<name>.lock`, which is gone afterwards.

    `waiting` is called once if another process holds it. On a file system without locks there is
    none, and two processes may do the same work.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with locked(Path(folder, "data")):
    ...         held = os.listdir(folder)
    ...     held, os.listdir(folder)
    (['.data.lock'], [])
    """
    lock = path.with_name(f".{path.name}.lock")
    file = _take(lock, waiting)
    _held.add(file)
    try:
        yield
    finally:
        _held.discard(file)
        with suppress(OSError):  # Windows removes no open file; then the next holder will
            lock.unlink()
        os.close(file)
        if os.name == "nt":
            with suppress(OSError):
                lock.unlink()


def _take(lock: Path, waiting: Callable[[], None] | None) -> int:
    while True:
        file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            while not _try(file):
                if waiting is not None:
                    waiting()
                    waiting = None
                time.sleep(_PAUSE)
            # Its last holder may have removed it meanwhile: then what we hold locks nothing.
            with suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(file), lock.stat()):
                    return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)


def _try(file: int) -> bool:
    """Whether the lock is ours now, or there are no locks to be had."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
    else:
        import fcntl

        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # a network file system without locks
            return True
    return True
