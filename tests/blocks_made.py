"""A folder of pictures as a `DataBlock`, and single pictures with a mark, for several tests."""

import numpy as np
import torch

from learnlite.vision.all import (
    CategoryBlock,
    DataBlock,
    GrandparentSplitter,
    ImageBlock,
    Resize,
    get_image_files,
    parent_label,
)


def block(**changes):
    settings = {
        "get_items": get_image_files,
        "get_y": parent_label,
        "splitter": GrandparentSplitter(),
        "item_tfms": Resize(32),
    } | changes
    return DataBlock((ImageBlock, CategoryBlock), **settings)


def same(a, b):
    return all(
        torch.equal(x, y)
        for one, two in zip(a, b, strict=True)
        for x, y in zip(one, two, strict=True)
    )


def marked(size, at):
    """A black picture with one white pixel at (x, y)."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[at[1], at[0]] = 255
    return pixels


def colour_of(i):
    return np.full((8, 8, 3), 40 * i, np.uint8)


def last(items):
    return list(range(len(items) - 1)), [len(items) - 1]
