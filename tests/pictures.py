"""Folders of small pictures that tests make for themselves."""

import numpy as np
from PIL import Image

COLOURS = {"blue": (20, 30, 220), "green": (20, 200, 40), "red": (230, 20, 30)}


def picture(colour, seed=0, size=(40, 56)):
    """A noisy picture (height, width) of one colour with a light square in it."""
    rng = np.random.default_rng(seed)
    pixels = np.array(COLOURS[colour]) + rng.normal(0, 12, (*size, 3))
    top, left = rng.integers(4, min(size) - 14, 2)
    pixels[top : top + 10, left : left + 10] = 240
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def folder_of_pictures(root, n=12, n_valid=4, size=(40, 56)):
    """`train` and `valid`, in each a folder a colour."""
    for part, count in (("train", n), ("valid", n_valid)):
        for k, colour in enumerate(COLOURS):
            folder = root / part / colour
            folder.mkdir(parents=True)
            for i in range(count):
                seed = i + 100 * k + 1000 * (part == "valid")
                picture(colour, seed, size).save(folder / f"{colour}_{i}.jpg", quality=90)
    return root
