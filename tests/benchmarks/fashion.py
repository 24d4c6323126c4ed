"""FashionMNIST, a small convnet, 5 epochs of one-cycle: learnlite, a torch loop by hand, fastai.

    python tests/benchmarks/fashion.py --data FOLDER [--seeds 3] [--peers learnlite,raw,fastai]

FOLDER holds the four original files `*-ubyte.gz`. All start from the same weights for a seed, with
AdamW of the same settings and the same batch size; the order of the images is each one's own.
Prints the accuracy on the test set and the seconds of each run, then mean and spread.
"""

import argparse
import gzip
import importlib.util
import statistics
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

EPOCHS, BS, LR, WD = 5, 128, 4e-3, 0.01


def images_and_labels(folder, part):
    x, y = (
        gzip.decompress((folder / f"{part}-{kind}-ubyte.gz").read_bytes())
        for kind in ("images-idx3", "labels-idx1")
    )
    x = torch.from_numpy(np.frombuffer(x, np.uint8, offset=16).reshape(-1, 1, 28, 28).copy())
    y = torch.from_numpy(np.frombuffer(y, np.uint8, offset=8).astype(np.int64))
    return (x.float() / 255 - 0.2860) / 0.3530, y


def net():
    def block(n_in, n_out):
        return [
            nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(n_out),
            nn.ReLU(),
        ]

    return nn.Sequential(
        *block(1, 16),
        *block(16, 32),
        *block(32, 64),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


def accuracy_of(model, x, y):
    model.eval()
    with torch.no_grad():
        hits = [
            (model(a).argmax(1) == b).sum().item()
            for a, b in zip(x.split(1000), y.split(1000), strict=True)
        ]
    return sum(hits) / len(y)


def learnlite(model, train, test, seed):
    from learnlite import DataLoaders, Learner, accuracy

    dls = DataLoaders.from_tensors(train, test, bs=BS, seed=seed, device="cpu")
    learn = Learner(dls, model, metrics=accuracy, wd=WD, wd_bn_bias=True, seed=seed)
    learn.fit_one_cycle(EPOCHS, LR)


def raw(model, train, test, seed):
    from torch.utils.data import DataLoader, TensorDataset

    dl = DataLoader(TensorDataset(*train), BS, shuffle=True)
    valid = DataLoader(TensorDataset(*test), BS)
    opt = torch.optim.AdamW(
        model.parameters(), lr=LR, betas=(0.95, 0.99), eps=1e-5, weight_decay=WD
    )
    sched = torch.optim.lr_scheduler.OneCycleLR(
        opt,
        LR,
        total_steps=EPOCHS * len(dl),
        pct_start=0.25,
        div_factor=25,
        final_div_factor=1e5 / 25,
    )
    for _ in range(EPOCHS):
        model.train()
        for x, y in dl:
            F.cross_entropy(model(x), y).backward()
            opt.step()
            opt.zero_grad()
            sched.step()
        model.eval()
        with torch.no_grad():
            sum(F.cross_entropy(model(x), y) * len(y) for x, y in valid)


def fastai(model, train, test, seed):
    from fastai.vision.all import Adam, CrossEntropyLossFlat, DataLoaders, Learner, TfmdDL, accuracy
    from torch.utils.data import TensorDataset

    dls = DataLoaders(
        TfmdDL(TensorDataset(*train), bs=BS, shuffle=True), TfmdDL(TensorDataset(*test), bs=BS)
    )
    learn = Learner(
        dls,
        model,
        CrossEntropyLossFlat(),
        opt_func=partial(Adam, eps=1e-5),
        metrics=accuracy,
        wd=WD,
        wd_bn_bias=True,
    )
    learn.fit_one_cycle(EPOCHS, LR)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--peers", default="learnlite,raw,fastai")
    args = parser.parse_args()
    train, test = images_and_labels(args.data, "train"), images_and_labels(args.data, "t10k")
    peers = [p for p in args.peers.split(",") if p == "raw" or importlib.util.find_spec(p)]
    results = {peer: [] for peer in peers}
    for seed in range(args.seeds):
        for peer in peers:
            torch.manual_seed(seed)
            model = net()
            start = time.perf_counter()
            globals()[peer](model, train, test, seed)
            seconds = time.perf_counter() - start
            results[peer].append((accuracy_of(model, *test), seconds))
            print(
                f"seed {seed}  {peer:<10} {100 * results[peer][-1][0]:.2f} %  {seconds:.0f} s",
                flush=True,
            )
    for peer, runs in results.items():
        accuracies, seconds = zip(*runs, strict=True)
        spread = 100 * (max(accuracies) - min(accuracies))
        print(
            f"{peer:<10} mean {100 * statistics.mean(accuracies):.2f} %  spread {spread:.2f}  "
            f"median {statistics.median(seconds):.0f} s"
        )


if __name__ == "__main__":
    main()
