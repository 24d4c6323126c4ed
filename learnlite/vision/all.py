"""What a notebook about images wants: `from learnlite.vision.all import *`."""

import json
import math
import os
import random
import re
import shutil
from functools import partial
from operator import attrgetter, itemgetter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torchvision.models import (
    alexnet,
    densenet121,
    densenet161,
    densenet169,
    densenet201,
    resnet18,
    resnet34,
    resnet50,
    resnet101,
    resnet152,
    squeezenet1_0,
    squeezenet1_1,
    vgg11_bn,
    vgg13_bn,
    vgg16_bn,
    vgg19_bn,
)

import learnlite
import learnlite.vision as vision
import learnlite.vision.models as models
from learnlite import *
from learnlite.data import default_device
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
from learnlite.layers import (
    AdaptiveAvgPool,
    AdaptiveConcatPool2d,
    AvgPool,
    BlurPool,
    ConvLayer,
    Embedding,
    Flatten,
    Identity,
    Lambda,
    LinBnDrop,
    MaxBlurPool,
    MaxPool,
    MergeLayer,
    Mish,
    Module,
    NormType,
    PixelShuffle_ICNR,
    ResBlock,
    SEBlock,
    SelfAttention,
    SEModule,
    SequentialEx,
    SEResNeXtBlock,
    SigmoidRange,
    SimpleSelfAttention,
    Swish,
    View,
    apply_init,
    init_cnn,
    init_default,
    noop,
    sequential,
    sigmoid_range,
)
from learnlite.vision import *
from learnlite.vision.annotations import get_annotations
from learnlite.vision.models import *
from learnlite.vision.notebook import (
    first,
    image2tensor,
    matplotlib,
    pd,
    plt,
    subplots,
    tensor,
    to_cpu,
)

__all__: list[str] = []
__all__ += learnlite.__all__
__all__ += vision.__all__
__all__ += models.__all__
__all__ += [
    "AdaptiveAvgPool",
    "AdaptiveConcatPool2d",
    "AvgPool",
    "BlurPool",
    "Categorize",
    "ColReader",
    "ColSplitter",
    "ConvLayer",
    "Embedding",
    "EndSplitter",
    "F",
    "FileSplitter",
    "Flatten",
    "FuncSplitter",
    "GrandparentSplitter",
    "Identity",
    "Image",
    "IndexSplitter",
    "Lambda",
    "LinBnDrop",
    "MaskSplitter",
    "MaxBlurPool",
    "MaxPool",
    "MergeLayer",
    "Mish",
    "Module",
    "MultiCategorize",
    "NoSplitter",
    "NormType",
    "Path",
    "PixelShuffle_ICNR",
    "RandomSplitter",
    "RandomSubsetSplitter",
    "RegexLabeller",
    "ResBlock",
    "SEBlock",
    "SEModule",
    "SEResNeXtBlock",
    "SelfAttention",
    "SequentialEx",
    "SigmoidRange",
    "SimpleNamespace",
    "SimpleSelfAttention",
    "Swish",
    "Tensor",
    "TrainTestSplitter",
    "URLs",
    "View",
    "alexnet",
    "apply_init",
    "attrgetter",
    "class_weights",
    "default_device",
    "densenet121",
    "densenet161",
    "densenet169",
    "densenet201",
    "download_data",
    "download_url",
    "extract",
    "first",
    "get_annotations",
    "get_files",
    "get_image_files",
    "image2tensor",
    "init_cnn",
    "init_default",
    "itemgetter",
    "json",
    "ls",
    "math",
    "matplotlib",
    "nn",
    "noop",
    "np",
    "os",
    "parent_label",
    "partial",
    "pd",
    "plt",
    "random",
    "re",
    "read_csv",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "resnet152",
    "sequential",
    "shutil",
    "sigmoid_range",
    "squeezenet1_0",
    "squeezenet1_1",
    "subplots",
    "tensor",
    "to_cpu",
    "torch",
    "untar_data",
    "using_attr",
    "vgg11_bn",
    "vgg13_bn",
    "vgg16_bn",
    "vgg19_bn",
]
