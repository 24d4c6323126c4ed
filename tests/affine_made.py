"""Images and transforms that move pixels, for the tests of these."""

import torch
import torch.nn.functional as F

from learnlite.vision.affine import Dihedral, RandomResizedCropGPU, Rotate, Warp, Zoom
from learnlite.vision.batch_tfms import BatchTfms
from learnlite.vision.fuse import FusedTransform

IMAGE = ("image",)


def smooth(n=4, channels=3, height=40, width=40):
    """Images without fine detail, so that half a pixel of shift is small but seen."""
    coarse = torch.rand(n, channels, 5, 5)
    return F.interpolate(coarse, (height, width), mode="bicubic", align_corners=False).clamp(0, 1)


def moved_by(tfm, x, kinds=IMAGE):
    return BatchTfms(tfm)(x if isinstance(x, tuple) else (x,), kinds, training=True)


def drawn(tfms, n=4000, height=30, width=30):
    """The matrices that were drawn for many samples."""
    x = torch.zeros(n, 1, 1, 1).expand(n, 1, height, width)
    return FusedTransform(list(BatchTfms(tfms).tfms))._drawn(x, (height, width)).matrix


def everything(pad_mode="reflection"):
    return [
        Dihedral(p=0.7, pad_mode=pad_mode),
        Warp(0.25, p=0.8, pad_mode=pad_mode),
        Rotate(35, p=0.8, pad_mode=pad_mode),
        Zoom(0.8, 1.6, p=0.8, pad_mode=pad_mode),
        RandomResizedCropGPU((50, 70), min_scale=0.5, pad_mode=pad_mode),
    ]
