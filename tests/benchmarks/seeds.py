"""What a seed for each item costs: images a second with our loader, with and without its seeds.

    python tests/benchmarks/seeds.py FOLDER [--size 128] [--n 256] [--turns 9]

FOLDER holds photos. A data set opens them, and takes a random crop and a random flip of
torchvision's, in this process. Three read it in turns: our loader, our loader that leaves the
generators as they are, and torch's `DataLoader`. Printed are medians, of the CPU time too, which
depends less on what else the machine does; and the time that seeding takes of itself.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

from PIL import Image
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from learnlite.data import Loader, reading

BS = 32


class Photos:
    """Photos as tensors, each cropped and flipped at random."""

    def __init__(self, files: list[Path], size: int) -> None:
        self.files = files
        self.tfm = v2.Compose(
            [
                v2.RandomResizedCrop(size, antialias=True),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Any:
        with Image.open(self.files[i]) as image:
            return self.tfm(image.convert("RGB")), i


def measured(batches: Callable[[], Iterable[Any]]) -> tuple[float, float]:
    """Seconds on the clock and of the CPU for an epoch."""
    clock, cpu = time.perf_counter(), time.process_time()
    for _ in batches():
        pass
    return time.perf_counter() - clock, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--n", type=int, default=256)
    parser.add_argument("--turns", type=int, default=9)
    args = parser.parse_args()
    found = sorted(p for p in args.folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    step = max(len(found) // args.n, 1)
    photos = Photos(found[::step][: args.n], args.size)
    ours = Loader(photos, BS, shuffle=True, seed=1)
    torchs = DataLoader(photos, BS, shuffle=True)

    def bare() -> Iterable[Any]:
        with patch.object(reading, "seed_item", lambda value: None):
            yield from ours

    ways = {"with seeds": lambda: ours, "without": bare, "torch's loader": lambda: torchs}
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for turn in range(args.turns + 1):
        for name in [*ways][:: 1 if turn % 2 else -1]:
            seconds = measured(ways[name])
            if turn:  # the first one finds the files on the disk
                spent[name].append(seconds)
    n = len(photos)
    for name, times in spent.items():
        print(f"{name:16} {n / median(t for t, _ in times):8.1f} images/s on the clock", end="")
        print(f" {1e3 * median(t for _, t in times) / n:8.3f} ms of the CPU an image")
    for name in ("without", "torch's loader"):
        pairs = zip(spent["with seeds"], spent[name], strict=True)
        ratios = [(a[0] / b[0], a[1] / b[1]) for a, b in pairs]
        print(f"with seeds / {name}: {median(r for r, _ in ratios):.3f} on the clock,", end=" ")
        print(f"{median(r for _, r in ratios):.3f} of the CPU")
    begun = time.perf_counter()
    for i in range(10_000):
        reading.seed_item(i)
    print(f"seeding an item: {1e2 * (time.perf_counter() - begun):.1f} µs")


if __name__ == "__main__":
    main()
