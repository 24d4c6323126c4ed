"""The usual augmentation of photos by one call, and boxes of noise."""

from collections.abc import Iterable
from inspect import signature
from math import isfinite
from typing import Any, ClassVar, Never

import torch
from torch import Tensor

from learnlite.data.erase import Erasing
from learnlite.types import BatchTransform, check_number
from learnlite.vision.affine import (
    Dihedral,
    Flip,
    RandomResizedCropGPU,
    ResizeBatch,
    Rotate,
    Warp,
    Zoom,
)
from learnlite.vision.fuse import PixelOp, PixelTransform
from learnlite.vision.lighting import Brightness, Contrast
from learnlite.vision.sampling import Size
from learnlite.vision.settings import refuse_unknown


def aug_transforms(
    mult: float = 1.0,
    do_flip: bool = True,
    flip_vert: bool = False,
    max_rotate: float = 10.0,
    min_zoom: float = 1.0,
    max_zoom: float = 1.1,
    max_lighting: float = 0.2,
    max_warp: float = 0.2,
    p_affine: float = 0.75,
    p_lighting: float = 0.75,
    xtra_tfms: Any = None,
    size: int | Size | None = None,
    mode: str = "bilinear",
    pad_mode: str = "reflection",
    batch: bool = False,
    min_scale: float = 1.0,
    **unknown: Never,
) -> list[BatchTransform]:
    """Flip, warp, rotate, zoom, brightness and contrast, as suits photos of most things.

    `mult` makes rotation, light and warp stronger, all at once; 0 for one of the `max_…` leaves it
    out. With `min_scale`, a crop of at least this part of the area fills `size`; without, the whole
    image does. Each image draws its own numbers, or with `batch` all the same.

    >>> aug_transforms(max_rotate=0, max_warp=0, max_lighting=0)
    [Flip(mode='bilinear', pad_mode='reflection', p=0.5, batch=False),
     Zoom(mode='bilinear', pad_mode='reflection', p=0.75, batch=False, min_zoom=1.0, max_zoom=1.1)]
    """
    refuse_unknown("aug_transforms", unknown, signature(aug_transforms).parameters)
    numbers = {
        "mult": mult,
        "max_rotate": max_rotate,
        "min_zoom": min_zoom,
        "max_zoom": max_zoom,
        "max_lighting": max_lighting,
        "max_warp": max_warp,
        "p_affine": p_affine,
        "p_lighting": p_lighting,
        "min_scale": min_scale,
    }
    for name, value in numbers.items():
        check_number(name, value)
        if not isfinite(value):
            raise ValueError(f"`{name}` must be a finite number, got {value}")
    Zoom(min_zoom, max_zoom)  # says what is wrong with them, also where they are left out
    if min_scale != 1 and size is None:
        raise ValueError(
            f"`min_scale={min_scale}` crops, and a crop fills `size`; give it, for example "
            "`size=224`"
        )
    chance: dict[str, Any] = {"p": p_affine, "mode": mode, "pad_mode": pad_mode, "batch": batch}
    tfms: list[BatchTransform] = []
    if do_flip:
        tfms.append(
            (Dihedral if flip_vert else Flip)(0.5, mode=mode, pad_mode=pad_mode, batch=batch)
        )
    if max_warp * mult:
        tfms.append(Warp(max_warp * mult, **chance))
    if max_rotate * mult:
        tfms.append(Rotate(max_rotate * mult, **chance))
    if min_zoom < 1 or max_zoom > 1:
        tfms.append(Zoom(min_zoom, max_zoom, **chance))
    if min_scale != 1 and size is not None:
        tfms.append(
            RandomResizedCropGPU(
                size, min_scale, ratio=(1, 1), mode=mode, pad_mode=pad_mode, batch=batch
            )
        )
    elif size is not None:
        tfms.append(ResizeBatch(size, mode, pad_mode))
    if max_lighting * mult:
        tfms.append(Brightness(max_lighting * mult, p_lighting, batch=batch))
        tfms.append(Contrast(max_lighting * mult, p_lighting, batch=batch))
    more = [] if xtra_tfms is None else xtra_tfms
    return [*tfms, *(more if isinstance(more, Iterable) else [more])]


class RandomErasing(PixelTransform):
    """Boxes of noise in the images, so that no single part decides alone.

    The part `p` of the images gets one to `max_count` boxes, whose areas add up to a part of the
    image between `sl` and `sh`; the ratio of height to width lies between `min_aspect` and its
    inverse. The noise has mean 0 and standard deviation 1: it comes after `Normalize`. The callback
    of the same name does this to batches of any loader, whether normalized or not.

    >>> x = torch.zeros(1, 3, 8, 8)
    >>> tfm = RandomErasing(p=1.0, sl=0.25, sh=0.25, min_aspect=1.0)
    >>> (noisy,) = tfm((x,), ("image",), training=True)
    >>> int((noisy != 0).sum())
    48
    """

    order: ClassVar[int] = 100

    def __init__(
        self,
        p: float = 0.5,
        sl: float = 0.0,
        sh: float = 0.3,
        min_aspect: float = 0.3,
        max_count: int = 1,
    ) -> None:
        self.erasing = Erasing(p, sl, sh, min_aspect, max_count)

    def operation(self, x: Tensor, training: bool) -> PixelOp | None:
        if not training or self.erasing.p == 0:
            return None
        return _Noise(self.erasing, self.erasing.draw(len(x), x.device))

    def __repr__(self) -> str:
        return repr(self.erasing).replace("Erasing", "RandomErasing")


class _Noise:
    def __init__(self, erasing: Erasing, numbers: Tensor) -> None:
        self.erasing = erasing
        self.numbers = numbers

    def __call__(self, x: Tensor, rows: slice | Tensor) -> Tensor:
        boxes = self.erasing.boxes(self.numbers[rows], x.shape[-2], x.shape[-1])
        if x.device.type != "cpu":
            return torch.where(boxes.mask(x.shape[-2], x.shape[-1]), torch.randn_like(x), x)
        # A CPU reads the boxes, and draws no noise outside of them.
        sides = torch.stack([boxes.top, boxes.left, boxes.height, boxes.width], -1).int().tolist()
        for image, of_image in zip(x, sides, strict=True):
            for top, left, height, width in of_image:
                image[:, top : top + height, left : left + width].normal_()
        return x

    def then(self, following: PixelOp) -> PixelOp | None:
        return None
