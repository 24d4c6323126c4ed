"""Photos made here for the tests of commands, and the options that make training quick."""

import csv
import io

import numpy as np
from PIL import Image

from learnlite.cli import main

ARCH = "mobilenet_v3_small"  # a step takes a quarter of xresnet18's time
QUICK = ["--arch", ARCH, "--scratch", "--size", "32", "--bs", "16", "--device", "cpu"]
SMALL = ["--size", "16", "--bs", "4", "--lr", "3e-3"]


def drawn(folder, n_train, n_valid):
    """Dark and light noise in `train` and `valid`, by class."""
    for i, (part, n) in enumerate((("train", n_train), ("valid", n_valid))):
        draw_classes(folder / part, n, seed=i)
    return folder


def draw_classes(folder, n, seed=0):
    """`n` photos each in a folder `dark` and one `light`."""
    rng = np.random.default_rng(seed)
    for name, level in (("dark", 60), ("light", 200)):
        (folder / name).mkdir(parents=True)
        for i in range(n):
            pixels = (level + rng.normal(0, 30, (40, 48, 3))).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{i}.png")
    return folder


def rows_of(file):
    return list(csv.DictReader(io.StringIO(file.read_text())))


def train(photos, out, *more):
    return main(["train", str(photos), *QUICK, "--out", str(out), *more])
