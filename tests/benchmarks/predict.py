"""Predicting many small items: items a second against a raw loop, and the memory it takes.

python tests/benchmarks/predict.py [n] [device]     # 100,000 items on the CPU, if not told
"""

import gc
import resource
import sys
import time

import torch
from torch import nn

from learnlite import DataLoaders, Learner

BS = 64
PASSES = 5


def memory() -> float:
    """What this process holds now, in MB."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def raw(model: nn.Module, loader: object) -> tuple[torch.Tensor, torch.Tensor]:
    """What one would write by hand."""
    device = next(model.parameters()).device
    preds, targs = [], []
    model.eval()
    with torch.no_grad():
        for x, y in loader:
            preds.append(model(x.to(device)).softmax(1).cpu())
            targs.append(y)
    return torch.cat(preds), torch.cat(targs)


def main() -> None:
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    device = sys.argv[2] if len(sys.argv) > 2 else "cpu"
    torch.manual_seed(0)
    x, y = torch.randint(256, (n, 1, 14, 14)).float() / 255, torch.randint(10, (n,))
    dls = DataLoaders.from_tensors((x, y), (x, y), bs=BS, device=device)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(),
        nn.Flatten(), nn.Linear(32 * 4, 10),
    )  # fmt: skip
    learn = Learner(dls, model)
    with learn.no_logging():
        learn.get_preds(dl=learn.dls.test_dl(x[:1000]))
        learn.predict(x[0])
        print(
            f"{n:,} items of 14 x 14 in batches of {BS} on {dls.device}, torch {torch.__version__}"
        )
        expected = raw(model, dls.valid)[0]
        for k in range(PASSES):
            gc.collect()
            before = memory()
            start = time.perf_counter()
            ours, _ = learn.get_preds()
            middle = time.perf_counter()
            torch.testing.assert_close(ours, expected)
            after = memory()
            again = time.perf_counter()
            raw(model, dls.valid)
            end = time.perf_counter()
            print(
                f"pass {k}: get_preds {n / (middle - start):>9,.0f} items/s, "
                f"raw loop {n / (end - again):>9,.0f}, "
                f"ratio {(end - again) / (middle - start):.2f}; "
                f"memory {before:,.0f} MB before, {after - before:+.1f} with the predictions "
                f"({ours.numel() * 4 / 1e6:.1f} of them)"
            )
            del ours
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        print(f"memory at its highest: {peak:,.0f} MB")

        times = 300
        start = time.perf_counter()
        for i in range(times):
            learn.predict(x[i])
        one = (time.perf_counter() - start) / times
        model.eval()
        start = time.perf_counter()
        with torch.no_grad():
            for i in range(times):
                model(x[i : i + 1].to(device)).softmax(1).cpu()
        alone = (time.perf_counter() - start) / times
        print(f"one item: predict {one * 1e3:.2f} ms, the model alone {alone * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
