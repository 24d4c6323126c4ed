"""Loaders and batches: what a model is trained on.

Getting data is in `learnlite.data.download` and `learnlite.data.archive`, which load more.
"""

from learnlite.data.batch import batch_size, default_device, move
from learnlite.data.categories import (
    Categorize,
    EncodedMultiCategorize,
    MultiCategorize,
    RegressionSetup,
)
from learnlite.data.files import get_files, get_image_files, ls
from learnlite.data.labels import ColReader, RegexLabeller, parent_label, using_attr
from learnlite.data.loader import Loader
from learnlite.data.loaders import DataLoaders
from learnlite.data.sampling import WeightedOrder, class_weights, sampling_order
from learnlite.data.splits import (
    ColSplitter,
    EndSplitter,
    FileSplitter,
    FuncSplitter,
    GrandparentSplitter,
    IndexSplitter,
    MaskSplitter,
    NoSplitter,
    RandomSplitter,
    RandomSubsetSplitter,
    TrainTestSplitter,
    subset,
)
from learnlite.data.stream import Stream
from learnlite.data.tables import read_csv
from learnlite.data.tensors import TensorItems
from learnlite.data.toy import load_shapes, make_shapes, two_moons

__all__ = [
    "Categorize",
    "ColReader",
    "ColSplitter",
    "DataLoaders",
    "EncodedMultiCategorize",
    "EndSplitter",
    "FileSplitter",
    "FuncSplitter",
    "GrandparentSplitter",
    "IndexSplitter",
    "Loader",
    "MaskSplitter",
    "MultiCategorize",
    "NoSplitter",
    "RandomSplitter",
    "RandomSubsetSplitter",
    "RegexLabeller",
    "RegressionSetup",
    "Stream",
    "TensorItems",
    "TrainTestSplitter",
    "WeightedOrder",
    "batch_size",
    "class_weights",
    "default_device",
    "get_files",
    "get_image_files",
    "load_shapes",
    "ls",
    "make_shapes",
    "move",
    "parent_label",
    "read_csv",
    "sampling_order",
    "subset",
    "two_moons",
    "using_attr",
]
