"""The same model and photos in fastai and here: predictions, losses, labels, averages compared.

python tests/benchmarks/predict_peers.py FOLDER     # with folders `train` and `val` of classes

It needs fastai. Both get images of one size without interpolation (224 pixels already, or a square
crop), so that no difference of resizing hides one of predicting.
"""

import sys
import time
import warnings
from pathlib import Path

import torch
from torch import nn

warnings.simplefilter("ignore")

SIZE = 64


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, 2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 2),
    )  # fmt: skip


def fastai_learner(folder: Path):
    from fastai.vision.all import CropPad, ImageDataLoaders, Learner

    dls = ImageDataLoaders.from_folder(
        folder, valid="val", item_tfms=CropPad(SIZE), bs=32, num_workers=0
    )
    learn = Learner(dls, net())
    return learn.remove_cb(learn.progress)


def our_learner(folder: Path):
    from learnlite import Learner, ProgressBar
    from learnlite.vision.all import CropPad, ImageDataLoaders

    dls = ImageDataLoaders.from_folder(
        folder, valid="val", item_tfms=CropPad(SIZE), bs=32, num_workers=0, device="cpu"
    )
    return Learner(dls, net()).remove_cb(ProgressBar)


def main() -> None:
    folder = Path(sys.argv[1])
    theirs, ours = fastai_learner(folder), our_learner(folder)
    files = [Path(file) for file in theirs.dls.valid_ds.items]
    kept = {str(file): i for i, file in enumerate(ours.dls.valid_ds.items)}
    order = torch.tensor([kept[str(file)] for file in files])

    def same(name: str, a: torch.Tensor, b: torch.Tensor) -> None:
        gap = (a.double() - b.double()).abs().max().item()
        print(f"{name:<24} largest difference {gap:.1e} over {tuple(a.shape)}")

    expected = theirs.get_preds(with_decoded=True, with_loss=True)
    given = ours.get_preds(with_decoded=True, with_loss=True)
    for name, a, b in zip(("preds", "targs", "decoded", "losses"), expected, given, strict=True):
        same(name, torch.as_tensor(a), b[order])
    start = time.perf_counter()
    for _ in range(10):
        label, index, chances = theirs.predict(files[0])
    middle = time.perf_counter()
    for _ in range(10):
        mine = ours.predict(files[0])
    end = time.perf_counter()
    print(f"predict: {label} {int(index)} and {mine[0]} {mine[1]}")
    same("probabilities", chances, mine[2])
    print(f"one photo: {(middle - start) * 100:.1f} ms and {(end - middle) * 100:.1f} ms")
    for settings in ({}, {"use_max": True}, {"beta": 0.6}):
        a = theirs.tta(n=2, **settings)[0]
        b = ours.tta(n=2, **settings)[0]
        same(f"tta {settings or ''}", a, b[order])
    print("validate", [round(float(v), 6) for v in (theirs.validate()[0], ours.validate()[0])])


if __name__ == "__main__":
    main()
