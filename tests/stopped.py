"""A training to be stopped by its parent: says when it may be, and in the end what came of it.

    python tests/stopped.py FOLDER NUMBER_OF_WORKERS WHERE

It waits in its fourth batch of training or validation, or for a second signal, or nowhere.
"""

import sys
import time
from pathlib import Path

from going_on import learner

from learnlite import EMA, Checkpoint, DataLoaders, MixUp, on
from learnlite.data import Loader


def loaders(n_workers):
    import torch

    x = torch.randn(96, 8, generator=torch.Generator().manual_seed(0))
    y = x.argmax(1) % 4

    class Noisy:
        def __len__(self):
            return len(x)

        def __getitem__(self, i):
            return x[i] + torch.rand(8), y[i]

    train = Loader(Noisy(), 8, shuffle=True, seed=1, num_workers=n_workers)
    return DataLoaders(train, Loader(Noisy(), 8, seed=2), device="cpu")


def main(folder, n_workers, where):
    keeper = Checkpoint("run")
    seen = []

    def wait(learn):
        if where in ("train", "valid", "twice") and learn.training == (where != "valid"):
            seen.append(1)
            if len(seen) == 4:
                print("now", flush=True)
                wait_until(lambda: keeper.stops.came is not None)
                if where == "twice":
                    print("again", flush=True)
                    wait_until(lambda: False)

    learn = learner(folder, seed=7, dls=loaders(n_workers))
    cbs = [MixUp(), EMA(0.9), on(after_pred=wait), keeper]
    learn.fit_one_cycle(2, 0.02, cbs=cbs, resume=True)
    learn.save(folder / "result")


def wait_until(done):
    end = time.monotonic() + 60
    while not done() and time.monotonic() < end:
        time.sleep(0.001)


if __name__ == "__main__":
    main(Path(sys.argv[1]).absolute(), int(sys.argv[2]), sys.argv[3])
