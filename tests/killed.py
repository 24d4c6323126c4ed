"""Kills a training again and again, as the machine may, and compares what comes of it.

    python tests/killed.py --kills 50           # each run a process of its own
    python tests/killed.py --kills 12 --fork    # forked from one that has imported torch: quick

Prints how often a run was killed, how often in the midst of a checkpoint, and the differences to
the run that nobody disturbed; ends with 1 if there is any.
"""

import argparse
import hashlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from learnlite import EMA, Checkpoint, DataLoaders, GradientAccumulation, Learner, MixUp, accuracy
from learnlite.data import Loader
from learnlite.nested import take_apart

RESULT = "hash"  # the file in which a run that came to its end says what it got


class Crops:
    """Images cut at a random place and turned at random, item by item, as on the CPU."""

    def __init__(self, n: int) -> None:
        generator = torch.Generator().manual_seed(0)
        self.y = torch.randint(4, (n,), generator=generator)
        self.x = torch.randn(n, 3, 20, 20, generator=generator) + self.y[:, None, None, None] / 2

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, torch.Tensor]:
        top, left = torch.randint(4, (2,)).tolist()
        image = self.x[i, :, top : top + 16, left : left + 16]
        return (image.flip(-1) if torch.rand(()) < 0.5 else image), self.y[i]


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(392, 384), nn.ReLU(), nn.Dropout(0.3), nn.Linear(384, 4)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))


def halves(model: Net) -> list[list[nn.Parameter]]:
    return [list(model.body.parameters()), list(model.head.parameters())]


def train(folder: Path, workers: int, *, find: bool = False, every: int = 2) -> None:
    """The whole of a run, or what is left of it; in the end a hash of all there is."""
    torch.set_num_threads(1)
    torch.manual_seed(3)
    train_dl = Loader(Crops(128), 16, shuffle=True, seed=1, num_workers=workers)
    dls = DataLoaders(train_dl, Loader(Crops(32), 16, seed=2), device="cpu")
    learn = Learner(dls, Net(), metrics=accuracy, splitter=halves, seed=4, path=folder)
    if find:
        learn.lr_find(num_it=3, show_plot=False, stop_div=False, suggest_funcs=())
    checkpoint = Checkpoint("states", every=every, background=find)
    cbs = [MixUp(), EMA(0.9), GradientAccumulation(48), checkpoint]
    learn.fine_tune(2, 1e-2, freeze_epochs=1, cbs=cbs, resume=True)
    state = learn.state_dict()
    del state["run"]  # a name drawn for each run
    text, tensors = take_apart(state)
    found = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        found.update(tensors[name].contiguous().numpy().tobytes())
    losses = [*learn.recorder.raw_losses, *learn.recorder.lrs, *learn.recorder.values]
    found.update(repr(losses).encode())
    (folder / RESULT).write_text(found.hexdigest())


def started(folder: Path, workers: int, *, find: bool, fork: bool) -> int:
    """A process that trains, in a group of its own; gives its number."""
    if not fork:
        command = [sys.executable, __file__, "--train", str(folder), "--workers", str(workers)]
        return os.posix_spawn(
            sys.executable,
            [*command, *(["--find"] if find else [])],
            os.environ,
            setsid=True,
            file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)],
        )
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        train(folder, workers, find=find)
        status = 0
    finally:
        os._exit(status)


def ended(pid: int, after: float) -> bool:
    """Whether the process has come to its end within `after` seconds; its failure is an error."""
    until = time.monotonic() + after
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            if status:
                raise RuntimeError(f"a run ended with status {status}")
            return True
        if time.monotonic() > until:
            return False
        time.sleep(0.002)


def parts(folder: Path) -> set[Path]:
    """The checkpoints that are half written."""
    return set((folder / "states").glob(".*.part"))


def await_part(folder: Path, before: set[Path], pid: int) -> bool:
    """Wait for a checkpoint that is being written; whether the process came to its end instead."""
    while not parts(folder) - before:
        if ended(pid, 0.0):
            return True
    return False


def kill(pid: int) -> None:
    """Kill the process that trains, as a machine does; its workers notice it themselves."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def sweep(groups: list[int]) -> None:
    for group in groups:
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


def campaign(kills: int, *, fork: bool, seed: int, say: Callable[[str], None]) -> int:
    """So many kills over as many runs as that takes; gives the number of those that differ."""
    draw = random.Random(seed)
    n_killed = n_midst = n_runs = n_different = 0
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name, "whole")
        whole.mkdir()
        begun = time.monotonic()
        ended(started(whole, 0, find=False, fork=fork), 600)
        seconds = time.monotonic() - begun
        wanted = (whole / RESULT).read_text()
        say(f"undisturbed: {seconds:.1f} s, {wanted[:16]}")
        while n_killed < kills:
            n_runs += 1
            folder = Path(name, f"run{n_runs}")
            folder.mkdir()
            groups: list[int] = []
            here = min(draw.randint(3, 6), kills - n_killed)
            while True:
                workers, before = draw.choice((0, 2)), parts(folder)
                groups.append(started(folder, workers, find=draw.random() < 0.3, fork=fork))
                wait = draw.uniform(0.0, 0.8) * seconds if here else 600.0
                if ended(groups[-1], wait):
                    break
                if draw.random() < 0.4 and await_part(folder, before, groups[-1]):
                    break
                kill(groups[-1])
                here -= 1
                n_killed += 1
                n_midst += bool(parts(folder) - before)
            sweep(groups)
            same = (folder / RESULT).read_text() == wanted
            n_different += not same
            say(f"run {n_runs}: {len(groups) - 1} kills, {'the same' if same else 'DIFFERENT'}")
    say(f"{n_killed} kills in {n_runs} runs, {n_midst} in the midst of a checkpoint")
    say(f"differences: {n_different}")
    return n_different


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--fork", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--train", type=Path)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--find", action="store_true")
    args = parser.parse_args()
    if args.train is not None:
        train(args.train, args.workers, find=args.find)
        return 0
    found = campaign(args.kills, fork=args.fork, seed=args.seed, say=lambda t: print(t, flush=True))
    return min(found, 1)


if __name__ == "__main__":
    sys.exit(main())
