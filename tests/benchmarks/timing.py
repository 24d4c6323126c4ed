"""Batches that note when they are handed out, and processes with a terminal of their own."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

CPU, WALL = 0, 1  # the two clocks of a stamp


class Stamps:
    """When each batch was handed out: process time and wall time, a list for each pass."""

    def __init__(self) -> None:
        self.passes: list[list[tuple[float, float]]] = []

    def note(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The same batches, each noted."""
        stamps: list[tuple[float, float]] = []
        self.passes.append(stamps)
        for batch in batches:
            stamps.append((time.process_time(), time.perf_counter()))
            yield batch

    def cost(self, clock: int, block: int) -> float:
        """Seconds a batch in the quickest fifth of the blocks, where nothing disturbed the machine.

        A block is long enough to hold updates of the bar.
        """
        means: list[float] = []
        for stamps in self.passes:
            at = [stamp[clock] for stamp in stamps]
            step = min(block, len(at) - 1)
            means += [(at[i + step] - at[i]) / step for i in range(0, len(at) - step, step)]
        return sorted(means)[len(means) // 5]


class Batches:
    """An iterable of ready batches."""

    def __init__(self, batches: list[Any]) -> None:
        self.ready = batches
        self.stamps = Stamps()

    def __len__(self) -> int:
        return len(self.ready)

    def __iter__(self) -> Iterator[Any]:
        return self.stamps.note(self.ready)


def in_terminal(script: str, *arguments: str) -> Any:
    """What a script in a process and terminal of its own wrote to the file named by `--out`.

    None, and the end of what it showed, if it failed.
    """
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "result.json")
        process = subprocess.Popen(
            [sys.executable, os.path.abspath(script), *arguments, "--out", out],
            stdout=side,
            stderr=side,
            stdin=subprocess.DEVNULL,
            cwd=folder,
            env=os.environ | {"OMP_NUM_THREADS": "1", "TERM": "xterm-256color"},
        )
        os.close(side)
        shown = bytearray()
        reader = threading.Thread(target=_read_all, args=(main, shown), daemon=True)
        reader.start()
        process.wait()
        reader.join(5)
        os.close(main)
        if process.returncode:
            print(f"failed: {' '.join(arguments)}\n{shown.decode(errors='replace')[-1500:]}")
            return None
        with open(out) as file:
            return json.load(file)


def _read_all(source: int, shown: bytearray) -> None:
    try:
        while data := os.read(source, 65536):
            shown += data
            del shown[:-4000]
    except OSError:  # the other side has closed
        return
