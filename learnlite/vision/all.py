"""What a notebook about images wants: `from learnlite.vision.all import *`."""

from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import learnlite
from learnlite import *
from learnlite import vision
from learnlite.data.archive import extract
from learnlite.data.categories import Categorize, MultiCategorize
from learnlite.data.download import download_data, download_url, untar_data
from learnlite.data.files import get_files, get_image_files, ls
from learnlite.data.labels import ColReader, RegexLabeller, parent_label, using_attr
from learnlite.data.sampling import class_weights
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
)
from learnlite.data.tables import read_csv
from learnlite.data.urls import URLs
from learnlite.vision import *

__all__: list[str] = []
__all__ += learnlite.__all__
__all__ += vision.__all__
__all__ += [
    "Categorize",
    "ColReader",
    "ColSplitter",
    "EndSplitter",
    "F",
    "FileSplitter",
    "FuncSplitter",
    "GrandparentSplitter",
    "IndexSplitter",
    "MaskSplitter",
    "MultiCategorize",
    "NoSplitter",
    "Path",
    "RandomSplitter",
    "RandomSubsetSplitter",
    "RegexLabeller",
    "Tensor",
    "TrainTestSplitter",
    "URLs",
    "class_weights",
    "download_data",
    "download_url",
    "extract",
    "get_files",
    "get_image_files",
    "ls",
    "nn",
    "np",
    "parent_label",
    "partial",
    "read_csv",
    "torch",
    "untar_data",
    "using_attr",
]
