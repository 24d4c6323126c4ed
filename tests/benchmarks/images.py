"""Images a second from files to batches, and the memory that takes: learnlite and others.

    python tests/benchmarks/images.py FOLDER [--size 128] [--workers 2] [--turns 5] [--n 4000]

FOLDER holds photos, in folders named after classes. Everybody reads the same `n` files (repeated,
if there are fewer), takes a random crop of at least 35 % of the area to `--size` pixels, and puts
batches of 64 bytes together; nothing is trained. Each has a process of its own, with its workers.
They take turns at an epoch; the first turn does not count, it is when memory is looked at. Printed
are medians: of images per second, of how many times as fast learnlite is in each turn, and of the
CPU time of an image, in all processes, which depends less on what else the machine does; and the
most memory of all processes together (pages that several share are counted once).

- `learnlite`, `torchvision` (`ImageFolder`'s way of opening, v2, torch's loader), `torchvision,
  tensors` (its own decoder and v2 on tensors) and `fastai` decode in `--workers` processes.
- `learnlite, filling a cache` is the first epoch with `cache="memory"`; `cached` are later ones, in
  one process with as many threads as are told.
- `memmap` are crops from a bare array of the same pixels that the cache keeps, on one thread, and
  `memmap, small` from one of pictures that were shrunk before to nine eighths of `--size`.
- With `--recipe` it is fastai's book's way from files to floats instead: `Resize(460)`, and then
  `aug_transforms(size=…, min_scale=0.75)` and `Normalize`, on one thread beside the workers.
"""

import argparse
import contextlib
import json
import math
import os
import random
import statistics
import subprocess
import sys
import threading
import time
import warnings
from operator import truediv
from pathlib import Path

import torch

BS = 64
LEAST = 0.35  # of the area


def our_loaders(files, size, workers, cache=None):
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
        item_tfms=RandomResizedCrop(size, min_scale=LEAST),
    )
    return block.dataloaders(
        files, bs=BS, num_workers=workers, cache=cache, device="cpu", drop_last=True
    ).train


def ours(files, size, workers, cache=None):
    train = our_loaders(files, size, workers, cache)
    epoch = iter(range(1000))
    return lambda: sum(len(x) for x, _ in train.batches(next(epoch)))


def filling(files, size, workers):
    """A cache is made for each turn, outside of what is timed."""
    made = [our_loaders(files, size, workers, "memory")]

    def run():
        return sum(len(x) for x, _ in made[0].batches(0))

    def renew():
        made.pop().close()
        made.append(our_loaders(files, size, workers, "memory"))

    run.before = renew
    return run


def cached(threads):
    def make(files, size, workers):
        torch.set_num_threads(threads)
        run = ours(files, size, 0, "memory")
        for _ in range(2):  # is filled, and checked
            run()
        return run

    return make


def torchvision(files, size, workers, tensors=False):
    from PIL import Image
    from torch.utils.data import DataLoader, Dataset
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms import v2

    crop = v2.RandomResizedCrop(size, scale=(LEAST, 1.0))
    tfms = v2.Compose([crop, v2.PILToTensor()])

    class Folder(Dataset):
        """What `ImageFolder` does, for a list of files."""

        def __len__(self):
            return len(files)

        def __getitem__(self, i):
            if tensors:
                return crop(decode_image(str(files[i]), ImageReadMode.RGB)), 0
            with open(files[i], "rb") as file:
                return tfms(Image.open(file).convert("RGB")), 0

    dl = DataLoader(
        Folder(), BS, shuffle=True, num_workers=workers, drop_last=True, persistent_workers=True
    )
    return lambda: sum(len(x) for x, _ in dl)


def fastai(files, size, workers):
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        EndSplitter,
        ImageBlock,
        Pipeline,
        RandomResizedCrop,
        parent_label,
    )

    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_y=parent_label,
        splitter=EndSplitter(0.01),
        item_tfms=RandomResizedCrop(size, min_scale=LEAST),
    )
    dls = block.dataloaders(files, bs=BS, num_workers=workers, device="cpu")
    dls.train.after_batch = Pipeline()  # bytes, as from the others
    return lambda: sum(len(x) for x, _ in dls.train)


def memmap(files, size, workers, small=False):
    """Random crops from pictures that lie one after the other in memory, as bytes."""
    import numpy as np
    import torch.nn.functional as F
    from PIL import Image

    from learnlite.vision.all import RandomResizedCrop
    from learnlite.vision.image import LazyImage

    tfm, side = RandomResizedCrop(size, min_scale=LEAST), max(size * 9 // 8, 8)
    kept = {}
    for file in set(files):
        if small:
            pixels = np.asarray(Image.open(file).convert("RGB").resize((side, side)))
        else:
            photo = LazyImage(file)
            pixels = photo.read(tfm.at_least(*photo.size)).permute(1, 2, 0).numpy()
        kept[file] = pixels.shape, pixels.tobytes()
    flat = torch.frombuffer(bytearray().join(kept[f][1] for f in files), dtype=torch.uint8)
    shapes = [kept[f][0] for f in files]
    starts = np.cumsum([0, *(math.prod(shape) for shape in shapes)]).tolist()
    ratios = math.log(3 / 4), math.log(4 / 3)

    def crop(height, width):
        for _ in range(10):
            area = height * width * random.uniform(LEAST, 1)
            ratio = math.exp(random.uniform(*ratios))
            h, w = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < h <= height and 0 < w <= width:
                return random.randint(0, height - h), random.randint(0, width - w), h, w
        return 0, 0, min(height, width), min(height, width)

    def run():
        done = 0
        for rows in torch.randperm(len(files)).split(BS):
            parts = []
            for i in rows.tolist():
                photo = flat[starts[i] : starts[i + 1]].view(shapes[i]).permute(2, 0, 1)
                top, left, h, w = crop(*shapes[i][:2])
                part = photo[None, :, top : top + h, left : left + w]
                part = part.contiguous(memory_format=torch.channels_last)
                parts.append(F.interpolate(part, (size, size), mode="bilinear", antialias=True))
            done += len(torch.cat(parts))
        return done

    return run


def our_recipe(files, size, workers, cache=None):
    """The book's own: `Resize(460)`, then `aug_transforms` to `size` in batches."""
    from learnlite.vision.all import (
        CategoryBlock,
        DataBlock,
        ImageBlock,
        Normalize,
        NoSplitter,
        Resize,
        aug_transforms,
        imagenet_stats,
        parent_label,
    )

    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_y=parent_label,
        splitter=NoSplitter(),
        item_tfms=Resize(460),
        batch_tfms=[
            *aug_transforms(size=size, min_scale=0.75),
            Normalize.from_stats(*imagenet_stats),
        ],
    )
    dls = block.dataloaders(
        files, bs=BS, num_workers=0 if cache else workers, cache=cache, device="cpu"
    )
    epoch = iter(range(1000))

    def run():
        batches = dls.train.batches(next(epoch))
        return sum(len(dls.transformed(batch, training=True)[0]) for batch in batches)

    for _ in range(2 if cache else 0):
        run()
    return run


def fastai_recipe(files, size, workers):
    from fastai.vision.all import (
        CategoryBlock,
        DataBlock,
        EndSplitter,
        ImageBlock,
        Normalize,
        Resize,
        aug_transforms,
        imagenet_stats,
        parent_label,
    )

    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_y=parent_label,
        splitter=EndSplitter(0.01),
        item_tfms=Resize(460),
        batch_tfms=[
            *aug_transforms(size=size, min_scale=0.75),
            Normalize.from_stats(*imagenet_stats, cuda=False),
        ],
    )
    dls = block.dataloaders(files, bs=BS, num_workers=workers, device="cpu")
    return lambda: sum(len(x) for x, _ in dls.train)


RECIPE = {
    "learnlite, recipe": our_recipe,
    "fastai, recipe": fastai_recipe,
    "learnlite, recipe, cached": lambda *given: our_recipe(*given, cache="memory"),
}
CONTENDERS = {
    "learnlite": ours,
    "torchvision": torchvision,
    "torchvision, tensors": lambda *given: torchvision(*given, tensors=True),
    "fastai": fastai,
    "learnlite, filling a cache": filling,
    "learnlite, cached, 1 thread": cached(1),
    "learnlite, cached, 2 threads": cached(2),
    "memmap": memmap,
    "memmap, small": lambda *given: memmap(*given, small=True),
}


def serve(name, files, args):
    """Run an epoch for each line that comes in, and tell its images and seconds."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    run = (CONTENDERS | RECIPE)[name](files, args.size, args.workers)
    print("[]", file=out)
    for _ in sys.stdin:
        getattr(run, "before", int)()
        start = time.perf_counter()
        n = run()
        print(json.dumps([n, time.perf_counter() - start]), file=out)


def family(pid):
    """A process, its children and theirs, with the seconds of CPU that each has used."""
    stats = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            stats[int(entry.parent.name)] = entry.read_text().rsplit(")", 1)[1].split()
    for each in stats:
        ancestor = each
        while ancestor not in (pid, 0):
            ancestor = int(stats[ancestor][1]) if ancestor in stats else 0
        if ancestor == pid:  # with what children that have ended have used
            yield each, sum(map(int, stats[each][11:15])) / os.sysconf("SC_CLK_TCK")


def pss(pid):
    """Bytes of memory of a process and its children; none of it twice."""
    found = 0
    for each, _ in family(pid):
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
            found += sum(int(s.split()[1]) << 10 for s in lines if s.startswith("Pss:"))
    return found


class Contender:
    def __init__(self, name, given):
        command = [sys.executable, __file__, *given, "--serve", name]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.rates = []
        self.cpu = []
        self.peak = 0
        self.is_there = self.process.stdout.readline() != ""

    def turn(self):
        before = sum(used for _, used in family(self.process.pid))
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        n, seconds = json.loads(self.process.stdout.readline())
        used = sum(used for _, used in family(self.process.pid)) - before
        return n / seconds, used / n * 1e6

    def first_turn(self):
        """The one that does not count; memory is looked at meanwhile."""
        done = threading.Event()

        def watch():
            while not done.wait(0.2):
                self.peak = max(self.peak, pss(self.process.pid))

        watcher = threading.Thread(target=watch)
        watcher.start()
        self.turn()
        done.set()
        watcher.join()


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--recipe", action="store_true", help="another comparison, see above")
    parser.add_argument("--only", nargs="*", default=[], help="names of contenders")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    args = parser.parse_args()
    found = sorted(
        path for path in args.folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg")
    )
    files = (found * (args.n // max(len(found), 1) + 1))[: args.n]
    if args.serve:
        serve(args.serve, files, args)
        return
    contenders = {}
    for name in RECIPE if args.recipe else CONTENDERS:
        if args.only and name not in args.only:
            continue
        contender = Contender(name, sys.argv[1:])
        if contender.is_there:
            contender.first_turn()
            contenders[name] = contender
        else:
            print(f"{name} cannot run here")
    for _ in range(args.turns):
        for contender in contenders.values():
            rate, cpu = contender.turn()
            contender.rates.append(rate)
            contender.cpu.append(cpu)
    first = next(iter(contenders.values()))
    print(f"{'':<28}   images/s   least    most   learnlite is   CPU µs   learnlite's     MB")
    for name, contender in contenders.items():
        faster = statistics.median(map(truediv, first.rates, contender.rates))
        cpu, first_cpu = statistics.median(contender.cpu), statistics.median(first.cpu)
        print(
            f"{name:<28} {statistics.median(contender.rates):10.0f} {min(contender.rates):7.0f} "
            f"{max(contender.rates):7.0f} {faster:8.2f} x as fast {cpu:8.0f} "
            f"{cpu / first_cpu:8.2f} x   {contender.peak / 1e6:6.0f}"
        )
        contender.process.stdin.close()
        contender.process.wait()


if __name__ == "__main__":
    main()
