"""Loaders and batches: what a model is trained on."""

from learnlite.data.batch import batch_size, default_device, move
from learnlite.data.loader import Loader
from learnlite.data.loaders import DataLoaders
from learnlite.data.stream import Stream
from learnlite.data.tensors import TensorItems
from learnlite.data.toy import load_shapes, make_shapes, two_moons

__all__ = [
    "DataLoaders",
    "Loader",
    "Stream",
    "TensorItems",
    "batch_size",
    "default_device",
    "load_shapes",
    "make_shapes",
    "move",
    "two_moons",
]
