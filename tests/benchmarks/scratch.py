"""A residual network from scratch on Imagenette, by learnlite and fastai: accuracy, time, memory.

    python tests/benchmarks/scratch.py FOLDER [--size 64] [--epochs 5] [--seeds 3] [--train 300]

FOLDER holds `train` and `val`. `xresnet18`, `fit_one_cycle(5, 3e-3)`, batches of 64, two worker
processes, the same random crops and flips, cross entropy, Adam, and `--train` photos of each class
(all, if 0). Each run is a process of its own, the two libraries by turns; peak memory is that of
the process and its workers together (proportional set size). Prints every run, then means, spread
and the ratios of ours to theirs.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

LIBRARIES = ("learnlite", "fastai")


def files_of(folder, part, n):
    """The first `n` photos of each class, in the order of their names."""
    return [
        path
        for label in sorted((Path(folder) / part).iterdir())
        for path in sorted(label.iterdir())[: n or None]
    ]


def run(library, args, seed):
    """Train once; prints accuracy and seconds as JSON."""
    import torch

    torch.manual_seed(seed)
    if library == "learnlite":
        from learnlite.vision.all import (
            CategoryBlock,
            DataBlock,
            FlipItem,
            ImageBlock,
            IndexSplitter,
            Learner,
            Normalize,
            RandomResizedCrop,
            accuracy,
            imagenet_stats,
            parent_label,
            xresnet18,
        )
    else:
        from fastai.vision.all import (
            CategoryBlock,
            DataBlock,
            FlipItem,
            ImageBlock,
            IndexSplitter,
            Learner,
            Normalize,
            RandomResizedCrop,
            accuracy,
            imagenet_stats,
            parent_label,
            set_seed,
            xresnet18,
        )

        set_seed(seed)
    train, valid = files_of(args.folder, "train", args.train), files_of(args.folder, "val", 100)
    files = [*train, *valid]
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock),
        get_y=parent_label,
        splitter=IndexSplitter(range(len(train), len(files))),
        item_tfms=[RandomResizedCrop(args.size, min_scale=0.35), FlipItem(0.5)],
        batch_tfms=Normalize.from_stats(*imagenet_stats),
    )
    dls = block.dataloaders(files, bs=64, num_workers=2, device=torch.device("cpu"))
    learn = Learner(dls, xresnet18(n_out=10), metrics=accuracy)
    started = time.perf_counter()
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(args.epochs, 3e-3)
    seconds = time.perf_counter() - started
    print(json.dumps({"accuracy": float(learn.validate()[1]), "seconds": seconds}))


def measured(library, args, seed):
    """A run in a process of its own: its accuracy, seconds, and peak memory in MB."""
    argv = [__file__, args.folder, "--size", args.size, "--epochs", args.epochs]
    argv += ["--train", args.train, "--library", library, "--seed", seed]
    process = subprocess.Popen(
        [sys.executable, *map(str, argv)], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    peak = [0.0]
    watcher = threading.Thread(target=watch, args=(process, peak))
    watcher.start()
    said = process.communicate()[0]
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{library} ended with {process.returncode}")
    return json.loads(said.strip().splitlines()[-1]) | {"megabytes": peak[0]}


def watch(process, peak):
    while process.poll() is None:
        peak[0] = max(peak[0], sum(map(megabytes, session_of(process.pid))))
        time.sleep(0.25)


def session_of(leader):
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader:
                yield int(entry.name)


def megabytes(pid):
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--train", type=int, default=300)
    parser.add_argument("--library", choices=LIBRARIES)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.library:
        run(args.library, args, args.seed)
        return
    results = {library: [] for library in LIBRARIES}
    for seed in range(args.seeds):
        for library in LIBRARIES if seed % 2 == 0 else LIBRARIES[::-1]:
            result = measured(library, args, seed)
            results[library].append(result)
            told = f"{result['accuracy']:.3f}, {result['seconds']:.0f} s"
            print(f"seed {seed} {library:10} {told}, {result['megabytes']:,.0f} MB", flush=True)
    for library, runs in results.items():
        accuracies = [run["accuracy"] for run in runs]
        print(
            f"{library:10} accuracy {statistics.mean(accuracies):.3f} "
            f"({min(accuracies):.3f} to {max(accuracies):.3f})"
        )
    for what in ("seconds", "megabytes"):
        ratios = [a[what] / b[what] for a, b in zip(*results.values(), strict=True)]
        print(f"{what}, learnlite : fastai, median {statistics.median(ratios):.2f}")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "2")
    main()
