"""What a batch costs: our loaders, direct indexing and torch's, side by side.

Run `python tests/benchmarks/loaders.py`; it prints medians in µs and ratios to direct indexing.
The ways are interleaved, so that a busy machine slows them all alike.
"""

import argparse
import time
from collections.abc import Callable, Iterable
from statistics import median

import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from learnlite.data import DataLoaders, Loader, TensorItems


class Rows(Dataset):
    """The same rows read item by item, as a data set of photos would be."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)


def ways(n: int, width: int, bs: int) -> dict[str, Callable[[], Iterable[object]]]:
    """Each way to read the same rows, shuffled, from its name."""
    x, y = torch.randn(n, width), torch.randint(10, (n,))

    def direct():
        order = torch.randperm(n)
        for first in range(0, n, bs):
            indices = order[first : first + bs]
            yield x[indices], y[indices]

    ours = DataLoaders.from_tensors((x, y), bs=bs, valid_pct=0, device="cpu").train
    return {
        "direct indexing": direct,
        "from_tensors": lambda: ours,
        "from_tensors, in order": lambda: Loader(TensorItems(x, y), bs),
        "torch DataLoader(TensorDataset)": lambda: DataLoader(
            TensorDataset(x, y), bs, shuffle=True
        ),
        "Loader, item by item": lambda: Loader(Rows(x, y), bs, shuffle=True),
        "torch DataLoader, item by item": lambda: DataLoader(Rows(x, y), bs, shuffle=True),
    }


def measure(loader: Iterable[object], n_batches: int) -> float:
    """The µs of processor time a batch takes, over the first `n_batches`."""
    start, k = time.process_time(), 0
    for k, _ in enumerate(loader, start=1):
        if k == n_batches:
            break
    return (time.process_time() - start) / k * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--bs", type=int, default=64)
    parser.add_argument("--batches", type=int, default=300)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for n, width in ((60_000, 784), (128_000, 32)):
        by_name = ways(n, width, args.bs)
        times: dict[str, list[float]] = {name: [] for name in by_name}
        for _ in range(args.repeats):
            for name, make in by_name.items():
                times[name].append(measure(make(), args.batches))
        base = median(times["direct indexing"])
        print(f"\n{n:,} rows of {width} numbers, batches of {args.bs}, one thread, no workers")
        for name, values in times.items():
            middle = median(values)
            print(f"{name:32} {middle:7.1f} µs  {middle / base:6.2f} x  (least {min(values):.1f})")


if __name__ == "__main__":
    main()
