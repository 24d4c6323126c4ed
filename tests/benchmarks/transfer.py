"""Fine-tuning a pretrained network on photos: accuracy, minutes, and what comes after training.

    python tests/benchmarks/transfer.py FOLDER [--arch squeezenet1_1] [--size 128] [--epochs 1]
    python tests/benchmarks/transfer.py FOLDER --resize 330 --size 288 --epochs 4 --lr 1e-3 --bs 16

The second way, for a few large photos, resizes once and keeps that; augmentation is gentle.

FOLDER holds `train` and `val` with a folder for each class. Prints for plain training, and with
label smoothing 0.1, over `--seeds` seeds: accuracy, loss and expected calibration error on `val`,
each plain and with test-time augmentation, and the minutes that `fine_tune` took. Pretrained
weights are looked for where torch keeps them (`TORCH_HOME`).
"""

import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from learnlite.interpret import calibration
from learnlite.vision.all import (
    FlipItem,
    ImageDataLoaders,
    LabelSmoothing,
    RandomResizedCrop,
    Resize,
    accuracy,
    aug_transforms,
    vision_learner,
)


def transforms(args):
    """Random crops of each photo, or one size for all and gentle moves of batches."""
    if args.resize is None:
        return {"item_tfms": [RandomResizedCrop(args.size, min_scale=0.35), FlipItem()]}
    gentle = aug_transforms(
        size=args.size, max_rotate=5, max_warp=0.05, max_lighting=0.1, p_affine=0.5
    )
    return {"item_tfms": Resize(args.resize), "batch_tfms": gentle, "cache": "memory"}


def trained(args, seed, cbs):
    dls = ImageDataLoaders.from_folder(
        args.folder,
        valid="val",
        bs=args.bs,
        seed=seed,
        num_workers=args.workers,
        **transforms(args),
    )
    learn = vision_learner(dls, f"torchvision/{args.arch}", metrics=accuracy, seed=seed)
    started = time.perf_counter()
    with learn.no_logging():
        learn.fine_tune(args.epochs, args.lr, cbs=cbs)
    return learn, (time.perf_counter() - started) / 60


def measures(preds, targs):
    loss = F.nll_loss(preds.clamp_min(1e-12).log(), targs).item()
    return [(preds.argmax(1) == targs).float().mean().item(), loss, calibration(preds, targs).ece]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--arch", default="squeezenet1_1")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--resize", type=int)
    parser.add_argument("--bs", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    found = {}
    for seed in range(args.seeds):
        for name, cbs in (("plain", []), ("label smoothing", [LabelSmoothing(0.1)])):
            learn, minutes = trained(args, seed, cbs)
            with learn.no_bar():
                plain, augmented = learn.get_preds(), learn.tta()
            for how, (preds, targs) in (("", plain), (", TTA", augmented)):
                row = measures(preds, targs)
                found.setdefault(name + how, []).append(row)
                told = f"accuracy {row[0]:.4f}, loss {row[1]:.4f}, ECE {row[2]:.4f}"
                print(f"seed {seed}, {name + how:20} {told}, {minutes:.1f} min", flush=True)
    print("\n| | accuracy | loss | ECE |\n|---|---|---|---|")
    for name, rows in found.items():
        means = [statistics.mean(column) for column in zip(*rows, strict=True)]
        print(f"| {name} | {means[0]:.2%} | {means[1]:.3f} | {means[2]:.3f} |")


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
