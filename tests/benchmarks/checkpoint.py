"""How long training waits for a checkpoint, and how large it is, beside `torch.save` of the state.

    python tests/benchmarks/checkpoint.py [--size 25] [--device cuda]

The stall is what a batch with a checkpoint takes longer than one without; the best of a few.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from torch import nn

from learnlite import Callback, Checkpoint, DataLoaders, Learner, Order

EVERY = 8


class Times(Callback):
    """The time from batch to batch, up to the end of all that is done after one."""

    order = Order.REPORT + 2000
    run_valid = False

    def before_fit(self) -> None:
        self.times: list[float] = []

    def after_batch(self) -> None:
        if self.learn.dls.device.type == "cuda":
            torch.cuda.synchronize()
        self.times.append(time.perf_counter())


def learner(million: float, device: str, folder: Path) -> Learner:
    """A learner whose model has about so many million parameters."""
    width = int((million * 1e6 / 4) ** 0.5)
    model = nn.Sequential(*(nn.Linear(width, width) for _ in range(4)))
    x = torch.randn(4, width)
    dls = DataLoaders([(x, x)] * (6 * EVERY), device=device)
    learn = Learner(dls, model, nn.MSELoss(), path=folder, lr=1e-4, default_cbs=False)
    learn.create_opt()
    return learn


def stall(learn: Learner, checkpoint: Checkpoint) -> float:
    """Seconds that a checkpoint takes of the batch after which it is made."""
    learn.fit(1, cbs=[checkpoint, times := Times()])
    spent = [b - a for a, b in zip(times.times, times.times[1:], strict=False)]
    with_it = [seconds for i, seconds in enumerate(spent, 2) if i % EVERY == 0]
    others = sorted(seconds for i, seconds in enumerate(spent, 2) if i % EVERY)
    return min(with_it) - others[len(others) // 2]


def saved(state: Any, path: Path) -> float:
    """Seconds of `torch.save`, flushed to the disk."""
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        with path.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        best = min(best, time.perf_counter() - begun)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=float, default=10, help="million parameters")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found: dict[str, float] = {}
        for label, background in (("Checkpoint", False), ("in the background", True)):
            learn = learner(args.size, args.device, folder / str(background))
            cb = Checkpoint("states", every=EVERY, keep=1, background=background)
            found[label] = stall(learn, cb)
            size = max(path.stat().st_size for path in cb.path.iterdir())
        path = folder / "torch"
        found["torch.save"] = saved(learn.state_dict(), path)
        plain = path.stat().st_size
        for label, seconds in found.items():
            print(f"{label:18} {1000 * seconds:9.1f} ms  {seconds / found['torch.save']:5.2f}")
        print(f"size: {size / 1e6:.1f} MB, torch.save {plain / 1e6:.1f} MB, {size / plain:.3f}")


if __name__ == "__main__":
    main()
