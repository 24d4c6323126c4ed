"""Images a second from files to batches: learnlite, torchvision with torch's loader, fastai.

    python tests/benchmarks/images.py FOLDER [--size 128] [--workers 2] [--turns 3] [--n 4000]

FOLDER holds a folder for each class. Everybody reads the same `n` files (repeated, if there are
fewer), takes a random crop of at least 35 % of the area to `--size` pixels, and puts batches of 64
bytes together; nothing is trained. They take turns, the first of which does not count, and the
figure is the median. `cached` is learnlite from its second epoch on with `cache="memory"`, and
`memmap` the same crop from a bare array of bytes in memory, in one process. fastai joins in if it
is installed.
"""

import argparse
import resource
import statistics
import time
import warnings
from pathlib import Path

import torch

BS = 64


def ours(files, size, workers, cache=None):
    from learnlite.vision.all import (
        CategoryBlock,
        DataBlock,
        ImageBlock,
        NoSplitter,
        RandomResizedCrop,
        parent_label,
    )

    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_y=parent_label,
        splitter=NoSplitter(),
        item_tfms=RandomResizedCrop(size, min_scale=0.35),
    )
    dls = block.dataloaders(
        files, bs=BS, num_workers=workers, cache=cache, device="cpu", drop_last=True
    )
    epoch = iter(range(1000))
    return lambda: sum(len(x) for x, _ in dls.train.batches(next(epoch)))


def torchvision(files, size, workers):
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.transforms import v2

    tfms = v2.Compose([v2.RandomResizedCrop(size, scale=(0.35, 1.0)), v2.PILToTensor()])

    class Folder(Dataset):
        """What `ImageFolder` does, for a list of files."""

        def __len__(self):
            return len(files)

        def __getitem__(self, i):
            with open(files[i], "rb") as file:
                return tfms(Image.open(file).convert("RGB")), 0

    dl = DataLoader(Folder(), BS, shuffle=True, num_workers=workers, drop_last=True)
    return lambda: sum(len(x) for x, _ in dl)


def fastai(files, size, workers):
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        EndSplitter,
        ImageBlock,
        RandomResizedCrop,
        parent_label,
    )

    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_y=parent_label,
        splitter=EndSplitter(0.01),
        item_tfms=RandomResizedCrop(size, min_scale=0.35),
    )
    dls = block.dataloaders(files, bs=BS, num_workers=workers, device="cpu")
    return lambda: sum(len(x) for x, _ in dls.train)


def memmap(files, size, workers):
    """Crops at random places from pictures that lie in memory as bytes, all of one size."""
    import torch.nn.functional as F
    from PIL import Image
    from torchvision.transforms.v2.functional import pil_to_tensor

    large = max(size * 9 // 8, 8)
    kept = {
        f: pil_to_tensor(Image.open(f).convert("RGB").resize((large, large))) for f in set(files)
    }
    pixels = torch.stack([kept[f] for f in files])

    def run():
        done = 0
        for rows in torch.randperm(len(pixels)).split(BS):
            parts = []
            for i in rows.tolist():
                side = int(large * (0.35 + 0.65 * torch.rand(()).item()) ** 0.5)
                top, left = (int(torch.rand(()).item() * (large - side + 1)) for _ in range(2))
                part = pixels[i : i + 1, :, top : top + side, left : left + side]
                parts.append(F.interpolate(part, (size, size), mode="bilinear", antialias=True))
            done += len(torch.cat(parts))
        return done

    return run


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--n", type=int, default=4000)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    found = sorted(args.folder.glob("*/*.jp*g")) + sorted(args.folder.glob("*/*.JP*G"))
    files = (found * (args.n // max(len(found), 1) + 1))[: args.n]
    runs = {"learnlite": ours(files, args.size, args.workers)}
    runs["torchvision"] = torchvision(files, args.size, args.workers)
    try:
        runs["fastai"] = fastai(files, args.size, args.workers)
    except ImportError:
        print("fastai is not installed")
    runs["learnlite, cached"] = ours(files, args.size, 0, "memory")
    runs["memmap"] = memmap(files, args.size, 0)
    rates = {name: [] for name in runs}
    for turn in range(args.turns + 1):
        for name, run in runs.items():
            start = time.perf_counter()
            n = run()
            if turn:
                rates[name].append(n / (time.perf_counter() - start))
    base = statistics.median(rates["learnlite"])
    for name, found in rates.items():
        rate = statistics.median(found)
        print(f"{name:<20} {rate:8.0f} images/s   learnlite is {base / rate:.2f} x as fast")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory of this process, all together: {peak:.0f} MB")


if __name__ == "__main__":
    main()
