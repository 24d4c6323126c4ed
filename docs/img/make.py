"""Draws the pictures of the docs: `python docs/img/make.py`, from anywhere.

All of them show scenes that are painted here: a meadow with houses, trees and a sun, of which is
known what they show, where it is, and which pixels belong to it.
"""

from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFilter
from torch import nn

from learnlite import Learner
from learnlite.vision.all import (
    BBoxBlock,
    BBoxLblBlock,
    CategoryBlock,
    DataBlock,
    ImageBlock,
    IndexSplitter,
    MaskBlock,
    MultiCategoryBlock,
    Normalize,
    PILImageBW,
    PointBlock,
    RegressionBlock,
    Resize,
    aug_transforms,
    imagenet_stats,
    show_images,
)

HERE = Path(__file__).parent
MOST_BYTES = 120_000
FINE = 3  # painted so much larger, for smooth edges
CODES = ["sky", "meadow", "house", "tree", "sun"]

SKIES = {
    "day": ((70, 140, 220), (200, 225, 245)),
    "dusk": ((90, 60, 120), (245, 160, 90)),
    "night": ((10, 14, 40), (50, 60, 100)),
}
LIGHT = {"day": 1.0, "dusk": 0.75, "night": 0.4}


@dataclass
class Scene:
    """A picture, and all that is known of it."""

    image: Image.Image
    time: str
    mask: np.ndarray
    boxes: list[list[float]] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    gable: list[float] = field(default_factory=list)  # of the house, and its two lower corners

    @property
    def tags(self) -> list[str]:
        return sorted(set(self.names))

    @property
    def height_of_sun(self) -> float:
        """Over the horizon, as part of the picture."""
        top, bottom = self.boxes[-1][1], self.boxes[-1][3]
        return round(1 - (top + bottom) / 2 / self.image.height, 2)


class Painter:
    """Paints into a picture and its mask alike, both in fine pixels."""

    def __init__(self, width: int, height: int, rng: np.random.Generator) -> None:
        self.size = (width * FINE, height * FINE)
        self.rng = rng
        self.image = Image.new("RGB", self.size)
        self.mask = Image.new("L", self.size)
        self.light = 1.0

    def paint(self, kind: str, colour: tuple[int, ...], what: str, code: str, **more: Any) -> None:
        shade = tuple(int(part * self.light) for part in colour)
        getattr(ImageDraw.Draw(self.image), kind)(what, fill=shade, **more)
        getattr(ImageDraw.Draw(self.mask), kind)(what, fill=CODES.index(code), **more)


def painted(seed: int, width: int = 320, height: int = 240) -> Scene:
    """A scene, another one for each seed."""
    rng = np.random.default_rng(seed)
    time = list(SKIES)[seed % len(SKIES)]
    art = Painter(width, height, rng)
    w, h = art.size
    high, low = (np.array(colour, dtype=float) for colour in SKIES[time])
    share = np.linspace(0, 1, h)[:, None, None] ** 1.3
    art.image.paste(
        Image.fromarray(np.broadcast_to(high + (low - high) * share, (h, w, 3)).astype(np.uint8))
    )
    boxes: list[list[float]] = []
    names: list[str] = []
    sun = _sun(art, time)
    art.light = LIGHT[time]
    horizon = h * rng.uniform(0.52, 0.62)
    for shade in (0.75, 1.0):
        _meadow(art, horizon, shade)
        horizon += 0.12 * h
    places = rng.permutation(4) / 4 * 0.8 + 0.03
    for place in places[: rng.integers(1, 3)]:
        boxes.append(_tree(art, place * w, h * rng.uniform(0.7, 0.8)))
        names.append("tree")
    gable, box = _house(art, places[3] * w, h * rng.uniform(0.8, 0.9))
    boxes += [box, sun]
    names += ["house", "sun" if time != "night" else "moon"]
    pixels = art.image.resize((width, height), Image.Resampling.LANCZOS)
    mask = np.asarray(art.mask.resize((width, height), Image.Resampling.NEAREST))
    scaled = [[side / FINE for side in box] for box in boxes]
    return Scene(pixels, time, mask, scaled, names, [[x / FINE, y / FINE] for x, y in gable])


def _sun(art: Painter, time: str) -> list[float]:
    w, h = art.size
    x, y = w * art.rng.uniform(0.15, 0.85), h * art.rng.uniform(0.12, 0.36)
    radius = h * art.rng.uniform(0.05, 0.08)
    colour = {"day": (255, 240, 150), "dusk": (255, 210, 110), "night": (235, 235, 225)}[time]
    box = [x - radius, y - radius, x + radius, y + radius]
    glow = Image.new("L", art.size)
    ImageDraw.Draw(glow).ellipse(
        [x - 2 * radius, y - 2 * radius, x + 2 * radius, y + 2 * radius], fill=90
    )
    art.image.paste(
        Image.new("RGB", art.size, colour), mask=glow.filter(ImageFilter.GaussianBlur(radius))
    )
    art.paint("ellipse", colour, box, "sun")
    return box


def _meadow(art: Painter, horizon: float, shade: float) -> None:
    w, h = art.size
    steps = np.linspace(0, w, 40)
    phase, waves = art.rng.uniform(0, 6), art.rng.uniform(1.5, 3)
    line = horizon + 0.03 * h * np.sin(phase + waves * np.pi * steps / w)
    colour = tuple(int(part * shade) for part in (96, 160, 70))
    art.paint("polygon", colour, [*zip(steps, line, strict=True), (w, h), (0, h)], "meadow")


def _tree(art: Painter, left: float, bottom: float) -> list[float]:
    h = art.size[1]
    size = h * art.rng.uniform(0.22, 0.34)
    width = size * 0.7
    trunk = [left + 0.43 * width, bottom - 0.4 * size, left + 0.57 * width, bottom]
    art.paint("rectangle", (110, 75, 45), trunk, "tree")
    green = (40 + int(art.rng.integers(40)), 110 + int(art.rng.integers(40)), 50)
    top = bottom - size
    for x, y, part in ((0, 0.25, 0.6), (0.4, 0.25, 0.6), (0.2, 0, 0.6), (0.2, 0.28, 0.6)):
        box = [left + x * width, top + y * size, left + (x + part) * width, top + (y + part) * size]
        art.paint("ellipse", green, box, "tree")
    return [left, top, left + width, bottom]


def _house(art: Painter, left: float, bottom: float) -> tuple[list[list[float]], list[float]]:
    h = art.size[1]
    width, height = h * art.rng.uniform(0.28, 0.38), h * art.rng.uniform(0.16, 0.22)
    walls = [(225, 205, 170), (190, 90, 70), (200, 200, 210)][art.rng.integers(3)]
    roof = [(150, 60, 45), (80, 85, 100)][art.rng.integers(2)]
    right, eaves = left + width, bottom - height
    gable = [(left + right) / 2, eaves - 0.6 * height]
    art.paint("rectangle", walls, [left, eaves, right, bottom], "house")
    over = 0.07 * width
    art.paint("polygon", roof, [(left - over, eaves), tuple(gable), (right + over, eaves)], "house")
    door = [left + 0.4 * width, bottom - 0.6 * height, left + 0.58 * width, bottom]
    art.paint("rectangle", (95, 60, 40), door, "house")
    lit, art.light = art.light, 1.0
    for x in (0.12, 0.7):
        pane = [
            left + x * width,
            eaves + 0.25 * height,
            left + (x + 0.18) * width,
            eaves + 0.6 * height,
        ]
        art.paint("rectangle", (255, 225, 130) if lit < 0.9 else (120, 165, 200), pane, "house")
    art.light = lit
    box = [left - over, gable[1], right + over, bottom]
    return [gable, [left, bottom], [right, bottom]], box


def loaders(
    scenes: list[Scene], blocks: Any, getters: list[Any], n_inp: int = 1, **tfms: Any
) -> Any:
    """Loaders that train on all scenes but the last three, in their order."""
    settings = {"item_tfms": Resize(160)} | tfms
    n = len(scenes)
    block = DataBlock(
        blocks,
        getters=[_image, *getters],
        n_inp=n_inp,
        splitter=IndexSplitter(range(n - 3, n)),
        **settings,
    )
    return block.dataloaders(scenes, bs=n - 3, shuffle=False, seed=0, device="cpu")


def _image(scene: Scene) -> Image.Image:
    return scene.image


def save(name: str) -> None:
    """The figure as a PNG, small enough for a page."""
    figure = plt.gcf()
    drawn = BytesIO()
    figure.savefig(drawn, dpi=72)
    plt.close(figure)
    picture = Image.open(drawn).convert("RGB")
    picture.save(HERE / name, optimize=True)
    size = (HERE / name).stat().st_size
    assert size < MOST_BYTES, f"{name} takes {size:,} bytes"
    print(f"{name}: {picture.width} x {picture.height}, {size:,} bytes")


def draw_blocks(scenes: list[Scene]) -> None:
    """`show_batch` of every block, three scenes each."""
    cases = {
        "category": ((ImageBlock, CategoryBlock), [lambda s: s.time], 1),
        "multi_category": ((ImageBlock, MultiCategoryBlock), [lambda s: s.tags], 1),
        "regression": ((ImageBlock, RegressionBlock), [lambda s: s.height_of_sun], 1),
        "points": ((ImageBlock, PointBlock), [lambda s: s.gable], 1),
        "boxes": (
            (ImageBlock, BBoxBlock, BBoxLblBlock),
            [lambda s: s.boxes, lambda s: s.names],
            1,
        ),
        "mask": ((ImageBlock, MaskBlock(CODES)), [lambda s: s.mask], 1),
        "black_and_white": (
            (ImageBlock(PILImageBW), CategoryBlock),
            [lambda s: s.time],
            1,
        ),
    }
    for name, (blocks, getters, n_inp) in cases.items():
        loaders(scenes, blocks, getters, n_inp).show_batch(max_n=4, nrows=1)
        save(f"show_{name}.png")


def draw_augmented(scenes: list[Scene]) -> None:
    """One scene nine times, each time with another augmentation."""
    dls = loaders(
        scenes,
        (ImageBlock, CategoryBlock),
        [lambda s: s.time],
        item_tfms=Resize(240),
        batch_tfms=[
            *aug_transforms(size=160, min_scale=0.75),
            Normalize.from_stats(*imagenet_stats),
        ],
    )
    torch.manual_seed(0)
    dls.train.show_batch(max_n=9, unique=True, figsize=(8, 8))
    save("augmented.png")


def draw_resized(scene: Scene) -> None:
    """A scene, and what each method of `Resize` makes of it."""
    methods = {
        "Resize(160)": Resize(160),
        '…, method="pad"': Resize(160, method="pad"),
        '…, "pad", pad_mode="zeros"': Resize(160, method="pad", pad_mode="zeros"),
        '…, method="squish"': Resize(160, method="squish"),
    }
    images = [scene.image, *(tfm.eval()(scene.image) for tfm in methods.values())]
    show_images(images, nrows=1, titles=["the image", *methods])
    save("resized.png")


def draw_results() -> None:
    """What a net that has hardly begun says of scenes it has not seen."""
    scenes = [painted(seed, width=240) for seed in range(60)]
    dls = loaders(scenes, (ImageBlock, CategoryBlock), [lambda s: s.time])
    torch.manual_seed(0)
    net = nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 3))
    learn = Learner(dls, net, seed=0)
    with learn.no_logging():
        learn.fit(2, 1e-2)
        learn.show_results(ds_idx=0, max_n=4, ncols=4, shuffle=False)
    save("results.png")


def main() -> None:
    """All pictures anew."""
    scenes = [painted(seed, width=240) for seed in range(7)]
    draw_blocks(scenes)
    wide = [painted(seed) for seed in range(7)]
    draw_augmented(wide)
    draw_resized(wide[0])
    draw_results()


if __name__ == "__main__":
    main()
