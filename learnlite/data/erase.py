"""Boxes at random places in images, for erasing them: drawn without a read of the device."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Erased:
    """Boxes to erase: first row or column, and count, each (items, boxes); none where it is 0."""

    top: Tensor
    left: Tensor
    height: Tensor
    width: Tensor

    def mask(self, n_row: int, n_column: int) -> Tensor:
        """Which pixels lie in a box: (items, 1, rows, columns)."""
        rows = _inside(self.top, self.height, n_row)
        columns = _inside(self.left, self.width, n_column)
        return (rows.unsqueeze(3) & columns.unsqueeze(2)).any(1, keepdim=True)


@dataclass
class Erasing:
    """How many boxes, and how large: the part `p` of the images gets one to `max_count` of them.

    Their areas add up to a part of the image between `sl` and `sh`, and the ratio of height to
    width lies between `min_aspect` and its inverse; a side longer than the image is cut to it.

    >>> erasing = Erasing(p=1.0, sl=0.25, sh=0.25, min_aspect=1.0)
    >>> numbers = erasing.draw(2, torch.device("cpu"))
    >>> erasing.boxes(numbers, 8, 8).mask(8, 8).sum((1, 2, 3)).tolist()
    [16, 16]
    """

    p: float = 0.5
    sl: float = 0.0
    sh: float = 0.3
    min_aspect: float = 0.3
    max_count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ValueError(f"`p` is the part of the images that is changed, 0 to 1; got {self.p}")
        if not 0 <= self.sl <= self.sh <= 1:
            raise ValueError(
                "`sl` and `sh` bound the part of an image that is erased: "
                f"0 <= sl <= sh <= 1; got {self.sl} and {self.sh}"
            )
        if not 0 < self.min_aspect <= 1:
            raise ValueError(
                "`min_aspect` is the smallest ratio of a box's sides, above 0 and at most 1; "
                f"got {self.min_aspect}"
            )
        if self.max_count < 1:
            raise ValueError(
                f"`max_count` counts boxes and must be at least 1, got {self.max_count}"
            )

    def draw(self, n: int, device: torch.device) -> Tensor:
        """The random numbers behind the boxes of `n` images: (items, 6, boxes)."""
        return torch.rand(n, 6, self.max_count, device=device)

    def boxes(self, numbers: Tensor, n_row: int, n_column: int) -> Erased:
        """The boxes of images of this size."""
        chance, count, size, aspect, top, left = numbers.unbind(1)
        counts = 1 + (count[:, :1] * self.max_count).floor()
        which = torch.arange(self.max_count, device=numbers.device)
        there = (chance[:, :1] < self.p) & (which < counts)  # (items, boxes)
        area = (self.sl + (self.sh - self.sl) * size[:, :1]) / counts * there * n_row * n_column
        aspect = torch.exp((1 - 2 * aspect) * math.log(self.min_aspect))
        # Rounded to whole pixels, so that the size does not depend on the place.
        height = (area * aspect).sqrt().round().clamp(max=n_row)
        width = (area / aspect).sqrt().round().clamp(max=n_column)
        top = (top * (n_row + 1 - height)).floor()
        left = (left * (n_column + 1 - width)).floor()
        return Erased(top, left, height, width)


def _inside(first: Tensor, length: Tensor, n: int) -> Tensor:
    pixels = torch.arange(n, device=first.device)
    return (pixels >= first.unsqueeze(2)) & (pixels < (first + length).unsqueeze(2))
