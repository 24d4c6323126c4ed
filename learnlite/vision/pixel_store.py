"""Pixels in one file that several processes read and write at the same time.

A header, a table with an entry for each slot, and pixels, which are only ever appended. An entry is
written after its pixels and carries a check sum of them, and one of itself: whatever a killed
process, a full disk or a flipped bit leaves behind is not taken for pixels.
"""

import contextlib
import math
import mmap
import os
import struct
import sys
import tempfile
import threading
import weakref
from collections.abc import Generator
from dataclasses import dataclass
from multiprocessing import reduction
from multiprocessing.context import get_spawning_popen
from pathlib import Path
from typing import Any, cast
from zlib import crc32

import numpy as np
import torch
from torch import Tensor

from learnlite.data.locks import locked
from learnlite.data.warn import warn

_MAGIC = b"learnlite pixels 2\n"
_HEADER = struct.Struct("<20s32sQ")  # magic, key, number of slots
_ENTRY = struct.Struct("<BBxxIQQ3I2III")  # dtype + 1, axes, sum, from, bytes, shape, size, scales
_SUMMED = 4096
_LINE = 64  # bytes of the header, and of an entry with its own sum behind it
_DTYPES = (torch.uint8, torch.int64, torch.int32, torch.int16, torch.float32, torch.float16)

# Locks of files are between processes; this one is between the threads and stores of one.
_in_process = threading.RLock()


def _new_lock() -> None:
    global _in_process
    _in_process = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_new_lock)


@dataclass(slots=True)
class Kept:
    """Pixels after the first stage, and what the rest must know of the image they come from."""

    pixels: Tensor
    size: tuple[int, int]
    """The (height, width) of the image."""
    scale: int
    """It was decoded at 1/`scale`."""
    grid: int
    """Its item is cut at multiples of this."""


class PixelStore:
    """`n` slots for pixels, in a file at `path`, or in memory that worker processes share.

    What is stored takes at most `limit` bytes; then `put` stores no more, and says so once.

    >>> store = PixelStore(2, limit=10**6)
    >>> store.put(1, Kept(torch.full((3, 4, 6), 7, dtype=torch.uint8), (8, 12), 2, 2))
    True
    >>> store.get(0), store.get(1).pixels.shape, store.get(1).size
    (None, torch.Size([3, 4, 6]), (8, 12))
    """

    def __init__(self, n: int, limit: int, path: Path | None = None, key: bytes = b"") -> None:
        self.n = n
        self.limit = limit
        self.path = path
        self.key = key.ljust(32, b"\0")
        self._start(_opened(self))
        _write(self._file(), b"\0", _LINE - 1)  # nobody was told yet that it is full

    def get(self, slot: int) -> Kept | None:
        """What a slot holds; None if nothing, or if it was damaged.

        The pixels are checked when this process reads them for the first time. They lie in the
        store, where nothing should be written; what is, is seen by this process alone.
        """
        if self._fd is None:
            return None
        entry = self._sound_entry(slot)
        if entry is None:
            return None
        dtype, n_axes, _, first, n_bytes, a, b, c, height, width, scale, grid = entry
        if dtype == 1 and n_axes == 3:  # they lie pixel by pixel, as decoders give them
            made = cast(Tensor, self._all).as_strided((c, a, b), (1, b * c, c), first)
        else:
            flat = cast(Tensor, self._all)[first : first + n_bytes].view(_DTYPES[dtype - 1])
            made = flat.view((a, b, c)[:n_axes])
            made = made.permute(2, 0, 1) if n_axes == 3 else made
        return Kept(made, (height, width), scale, grid)

    def put(self, slot: int, kept: Kept) -> bool:
        """Store pixels; whether that was done. A slot that holds some already stays as it is."""
        if self._fd is None or not self._writes:
            return False
        pixels = kept.pixels.detach()
        if pixels.dtype not in _DTYPES or pixels.ndim not in (2, 3) or not pixels.numel():
            return False
        pixels = (pixels.permute(1, 2, 0) if pixels.ndim == 3 else pixels).contiguous()
        data = memoryview(cast(Any, pixels.numpy())).cast("B")
        check = _sum_of(data)
        try:
            with _file_locked(self._fd):
                first = self._place(slot, len(data))
                if first is None:
                    return False
                _write(self._fd, data, first)
                shape = (*pixels.shape, 1)[:3]
                entry = _ENTRY.pack(
                    _DTYPES.index(pixels.dtype) + 1,
                    pixels.ndim,
                    check,
                    first,
                    len(data),
                    *shape,
                    *kept.size,
                    kept.scale,
                    kept.grid,
                )
                _write(self._fd, _summed(entry), _LINE * (slot + 1))
        except OSError as error:
            self._writes = False
            self._warn(f"could not be written ({error.strerror or error})")
            return False
        if slot in self._damaged:
            self._damaged.discard(slot)
            self._checked = bytearray(self.n)
            self._map = self._all = None
            if not self._mended:
                self._mended = True
                self._warn("was damaged; what is found so is decoded again and mended", "")
        return True

    @property
    def n_kept(self) -> int:
        """How many slots hold pixels, as far as their entries tell."""
        if self._fd is None:
            return 0
        table = _read(self._fd, _LINE * self.n, _LINE)
        lines = (table[i : i + _LINE] for i in range(0, len(table), _LINE))
        return sum(_parsed(line) is not None for line in lines)

    def _place(self, slot: int, n_bytes: int) -> int | None:
        """Where the pixels of a slot go; None if nowhere."""
        fd = self._file()
        entry = _parsed(_read(fd, _LINE, _LINE * (slot + 1)))
        if entry is not None:
            if slot not in self._damaged:  # another process was quicker
                return None
            if entry[4] == n_bytes and entry[3] + n_bytes <= os.fstat(fd).st_size:
                return entry[3]
        first = -(-os.fstat(fd).st_size // _LINE) * _LINE
        if first + n_bytes <= self.limit:
            return first
        self._writes = False
        if _read(fd, 1, _LINE - 1) != b"\1":
            _write(fd, b"\1", _LINE - 1)
            self._warn(f"is full: it has the {self.limit / 1e9:.3g} GB that it may have")
        return None

    def _sound_entry(self, slot: int) -> tuple[Any, ...] | None:
        """The entry of pixels that were checked; None if there are none, or damaged ones."""
        if self._checked[slot]:  # then the entry is in memory too, 5 µs quicker
            entry = _ENTRY.unpack_from(cast(Any, self._map), _LINE * (slot + 1))
            if entry[3] + entry[4] <= len(cast(Any, self._map)):
                return entry
        line = _read(self._file(), _LINE, _LINE * (slot + 1))
        entry = _parsed(line)
        is_sound = not any(line) if entry is None else self._is_sound(slot, *entry[2:5])
        if not is_sound:
            self._damaged.add(slot)
            return None
        return entry

    def _is_sound(self, slot: int, check: int, first: int, n_bytes: int) -> bool:
        if self._map is None or len(self._map) < first + n_bytes:
            fd = self._file()
            if os.fstat(fd).st_size < first + n_bytes:
                return False
            # Changes of the file show in it; what is written to it does not go to the file.
            self._map = mmap.mmap(fd, 0, access=mmap.ACCESS_COPY)
            self._all = torch.frombuffer(self._map, dtype=torch.uint8)
        with memoryview(self._map) as view, view[first : first + n_bytes] as part:
            if _sum_of(part) != check:
                return False
        self._checked[slot] = 1
        return True

    def _warn(self, what: str, way: str = "; other images are decoded each time") -> None:
        name = "in memory" if self.path is None else f"`{self.path}`"
        warn(f"the image cache {name} {what}{way}")

    def _file(self) -> int:
        return cast(int, self._fd)

    def _start(self, fd: int | None) -> None:
        self._fd = fd
        self._writes = True
        self._mended = False
        self._map: mmap.mmap | None = None
        self._all: Tensor | None = None  # its bytes
        self._checked = bytearray(self.n)
        self._damaged: set[int] = set()
        if fd is not None:
            weakref.finalize(self, _close, fd)

    def __getstate__(self) -> dict[str, Any]:
        file = None
        to_worker = get_spawning_popen() is not None
        if to_worker and self.path is None and self._fd is not None and os.name != "nt":
            file = reduction.DupFd(self._fd)
        return {"n": self.n, "limit": self.limit, "path": self.path, "key": self.key, "file": file}

    def __setstate__(self, state: dict[str, Any]) -> None:
        file = state.pop("file")
        self.__dict__.update(state)
        fd = None
        with contextlib.suppress(OSError):
            if self.path is not None:
                fd = _opened(self)
            elif file is not None:
                fd = file.detach()
        self._start(fd)

    def __repr__(self) -> str:
        where = "memory" if self.path is None else str(self.path)
        return f"PixelStore({self.n_kept:,} of {self.n:,} slots, {where})"


def _opened(store: PixelStore) -> int:
    """The file of a store, made anew if it is not there or another one."""
    header = _HEADER.pack(_MAGIC, store.key, store.n).ljust(_LINE, b"\0")
    start = _LINE * (store.n + 1)
    if store.path is None:
        if hasattr(os, "memfd_create"):
            fd = os.memfd_create("learnlite-pixels")
        else:
            with tempfile.TemporaryFile() as file:
                fd = os.dup(file.fileno())
        os.ftruncate(fd, start)
        _write(fd, header, 0)
        return fd
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0)
    with locked(store.path):
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(store.path, flags)
            if _read(fd, _LINE - 1, 0) == header[:-1] and os.fstat(fd).st_size >= start:
                return fd
            os.close(fd)
        new = store.path.with_name(f".{store.path.name}.{os.getpid()}.new")
        try:
            fd = os.open(new, flags | os.O_CREAT | os.O_TRUNC, 0o600)
            os.ftruncate(fd, start)
            _write(fd, header, 0)
            os.close(fd)
            os.replace(new, store.path)
        finally:
            new.unlink(missing_ok=True)
        return os.open(store.path, flags)


def _sum_of(pixels: memoryview) -> int:
    """A check sum that costs 5 µs for a photo of 224 pixels: `crc32` of the sums of each 4 kB."""
    n = len(pixels) // _SUMMED * _SUMMED
    sums = np.frombuffer(pixels, np.uint64, n // 8).reshape(-1, _SUMMED // 8).sum(1)
    return crc32(pixels[n:], crc32(sums))


def _summed(entry: bytes) -> bytes:
    return (entry + crc32(entry).to_bytes(4, "little")).ljust(_LINE, b"\0")


def _parsed(line: bytes) -> tuple[int, ...] | None:
    """The entry in a line, if it is one."""
    if len(line) < _LINE or not line[0]:
        return None
    entry = line[: _ENTRY.size]
    if crc32(entry).to_bytes(4, "little") != line[_ENTRY.size : _ENTRY.size + 4]:
        return None
    dtype, n_axes, _, _, n_bytes, *shape = found = _ENTRY.unpack(entry)
    if dtype > len(_DTYPES) or n_axes not in (2, 3):
        return None
    fits = n_bytes == math.prod(shape[:3]) * _DTYPES[dtype - 1].itemsize and min(shape[5:]) > 0
    return found if fits else None


@contextlib.contextmanager
def _file_locked(fd: int) -> Generator[None]:
    with _in_process:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(fd, 1 << 40, os.SEEK_SET)
            msvcrt.locking(fd, msvcrt.LK_LOCK, 1)
            try:
                yield
            finally:
                os.lseek(fd, 1 << 40, os.SEEK_SET)
                msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
        else:
            import fcntl

            fcntl.lockf(fd, fcntl.LOCK_EX)  # of a process: forked ones are others
            try:
                yield
            finally:
                fcntl.lockf(fd, fcntl.LOCK_UN)


def _close(fd: int) -> None:
    with _in_process:  # to close a file lets go of this process's lock of it
        os.close(fd)


def _read(fd: int, n: int, at: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(fd, n, at)
    with _in_process:
        os.lseek(fd, at, os.SEEK_SET)
        return os.read(fd, n)


def _write(fd: int, data: bytes | memoryview, at: int) -> None:
    left = memoryview(data)
    while left:
        if hasattr(os, "pwrite"):
            n = os.pwrite(fd, left, at)
        else:
            with _in_process:
                os.lseek(fd, at, os.SEEK_SET)
                n = os.write(fd, left)
        left, at = left[n:], at + n
