"""Learners small enough to export in a test, of tensors and of images."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from learnlite import DataLoaders, Learner, register_model, tensor_file
from learnlite.vision import CategoryBlock, DataBlock, ImageBlock, Resize


@register_model("exported/linear")
class Linear(nn.Linear):
    """A model with a recipe."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out)


@register_model("exported/net")
def net(n_out: int = 2, width: int = 4) -> nn.Module:
    """A convolutional net with buffers."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, 2),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(width, n_out),
    )


PICTURES = [
    np.random.default_rng(i).integers(0, 256, (20 + i, 30, 3)).astype(np.uint8) for i in range(12)
]

ALIKE = [picture[:20] + i for i, picture in enumerate(PICTURES)]
"""Pictures of one size."""


def parity(picture: Any) -> str:
    """A label of a picture."""
    return "odd" if picture[0, 0, 0] % 2 else "even"


def halves(items: Any) -> tuple[list[int], list[int]]:
    """The first eight train, the others validate."""
    return list(range(8)), list(range(8, len(items)))


def of_images(path: Path, model: nn.Module | None = None, **changes: Any) -> Learner:
    """A learner of pictures, whose BatchNorm has seen some."""
    settings = {"get_y": parity, "splitter": halves, "item_tfms": Resize(16)} | changes
    blocks = settings.pop("blocks", (ImageBlock, CategoryBlock))
    pictures = settings.pop("pictures", PICTURES)
    loss = settings.pop("loss", None)
    dls = DataBlock(blocks, **settings).dataloaders(pictures, bs=4, device="cpu", seed=1)
    learn = Learner(dls, net() if model is None else model, loss, path=path)
    images = torch.randn(8, 3, 16, 16)
    if model is None:
        learn.model(images)
    return learn


def of_tensors(path: Path, model: nn.Module | None = None, **settings: Any) -> Learner:
    """A learner of tensors."""
    x = torch.randn(40, 4)
    dls = DataLoaders.from_tensors(x, (x.sum(1) > 0).long(), bs=8, device="cpu")
    return Learner(dls, Linear(4, 2) if model is None else model, path=path, **settings)


def note_of(path: Path) -> dict[str, Any]:
    """What our part of a file's metadata says."""
    return json.loads(tensor_file.read(path).metadata["learnlite"])


def with_note(path: Path, note: Any, tensors: dict[str, Tensor] | None = None) -> Path:
    """The file again, with another note (text, or what is made JSON) and a right checksum."""
    text = note if isinstance(note, str) else json.dumps(note)
    tensors = tensor_file.read(path).tensors() if tensors is None else tensors
    tensor_file.write(path, tensors, {"format": "pt", "learnlite": text})
    return path
