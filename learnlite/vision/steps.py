"""What transforms of items do to pixels, points and boxes: cut, scale and turn, in exact numbers.

A transform draws its randomness first and knows its steps before any pixel is decoded; so it can
be told how large the decoded image must be, and only the part that is needed is resized.

Places are counted in pixels from the outer edge: the first pixel lies between 0 and 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import tv_tensors

Size = tuple[int, int]
"""(height, width), in pixels."""

PadName = Literal["reflection", "border", "zeros"]
Resample = Literal["bilinear", "bicubic", "nearest"]


@dataclass(frozen=True, slots=True)
class Cut:
    """Keeps a rectangle; where it reaches over the edge, `pad_mode` says what stands there."""

    top: int
    left: int
    height: int
    width: int
    pad_mode: PadName = "zeros"

    def size(self, size: Size) -> Size:
        return self.height, self.width

    def pixels(self, pixels: Tensor, resample: Resample | None) -> Tensor:
        height, width = pixels.shape[-2:]
        bottom, right = self.top + self.height, self.left + self.width
        if self.within((height, width)):
            return pixels[..., self.top : bottom, self.left : right]
        if self.pad_mode != "zeros":
            rows = _folded(self.top, self.height, height, self.pad_mode)
            columns = _folded(self.left, self.width, width, self.pad_mode)
            return pixels[..., rows[:, None], columns]
        padded = pixels.new_zeros((*pixels.shape[:-2], self.height, self.width))
        inside = pixels[..., max(self.top, 0) : max(bottom, 0), max(self.left, 0) : max(right, 0)]
        top, left = max(-self.top, 0), max(-self.left, 0)
        padded[..., top : top + inside.shape[-2], left : left + inside.shape[-1]] = inside
        return padded

    def points(self, xy: Tensor, size: Size) -> Tensor:
        return xy - xy.new_tensor([self.left, self.top])

    def shrunk(self, scale: int) -> "Cut":
        """The same place in an image of 1/`scale` the size."""
        top, left = self.top // scale, self.left // scale
        return Cut(top, left, self.height // scale, self.width // scale, self.pad_mode)

    def within(self, size: Size) -> bool:
        """Whether an image of that size has all of it."""
        bottom, right = self.top + self.height, self.left + self.width
        return self.top >= 0 and self.left >= 0 and bottom <= size[0] and right <= size[1]


@dataclass(frozen=True, slots=True)
class Scale:
    """Resizes all there is, antialiased; class numbers of masks are taken, not mixed."""

    height: int
    width: int
    resample: Resample = "bilinear"

    def size(self, size: Size) -> Size:
        return self.height, self.width

    def pixels(self, pixels: Tensor, resample: Resample | None) -> Tensor:
        size = (self.height, self.width)
        if tuple(pixels.shape[-2:]) == size:
            return pixels
        resample = resample or self.resample
        if resample == "nearest":
            rows, columns = (_nearest(pixels.shape[axis - 2], size[axis]) for axis in (0, 1))
            return pixels[..., rows[:, None], columns]
        is_one = pixels.ndim == 3
        # Bytes of a pixel side by side: twice as fast, and how decoders give them. By way of
        # `permute`, as the stride of a batch of one must be that of a true batch to be seen so.
        batch = pixels.movedim(-3, -1).reshape(-1, *pixels.shape[-2:], pixels.shape[-3])
        batch = batch.contiguous().permute(0, 3, 1, 2)
        new = F.interpolate(batch, size, mode=resample, antialias=True, align_corners=False)
        return new[0] if is_one else new.reshape(*pixels.shape[:-2], *size)

    def points(self, xy: Tensor, size: Size) -> Tensor:
        return xy * xy.new_tensor([self.width / size[1], self.height / size[0]])


@dataclass(frozen=True, slots=True)
class Turn:
    """One of the eight ways a square can lie: first rows for columns, then left for right, …."""

    flip_x: bool = False
    flip_y: bool = False
    transpose: bool = False

    def size(self, size: Size) -> Size:
        height, width = size
        return (width, height) if self.transpose else size

    def pixels(self, pixels: Tensor, resample: Resample | None) -> Tensor:
        pixels = pixels.mT if self.transpose else pixels
        flipped = [axis for axis, flip in ((-1, self.flip_x), (-2, self.flip_y)) if flip]
        return pixels.flip(flipped) if flipped else pixels

    def points(self, xy: Tensor, size: Size) -> Tensor:
        height, width = self.size(size)
        x, y = (xy.flip(-1) if self.transpose else xy).unbind(-1)
        return torch.stack([width - x if self.flip_x else x, height - y if self.flip_y else y], -1)


Step = Cut | Scale | Turn


@dataclass(frozen=True, slots=True)
class Plan:
    """The steps for images of one size, drawn before any pixel is decoded.

    >>> plan = Plan((400, 600), (Cut(0, 100, 400, 400), Scale(128, 128)))
    >>> plan.at_least(), plan(tv_tensors.Image(torch.zeros(3, 400, 600))).shape
    ((128, 192), torch.Size([3, 128, 128]))
    """

    size: Size
    steps: tuple[Step, ...] = ()

    def then(self, steps: Sequence[Step]) -> "Plan":
        """These steps, and others after them."""
        return replace(self, steps=(*self.steps, *steps))

    @property
    def new_size(self) -> Size:
        """That of the image after all steps."""
        size = self.size
        for step in self.steps:
            size = step.size(size)
        return size

    def at_least(self) -> Size | None:
        """The smallest size of the whole image that loses nothing; None if every pixel counts."""
        match self.steps:
            case (Scale() as scale, *_):
                cut = Cut(0, 0, *self.size)
            case (Cut() as cut, Scale() as scale, *_) if cut.within(self.size):
                pass
            case _:
                return None
        if scale.resample == "nearest":
            return None
        new, old = max(
            (scale.height, cut.height), (scale.width, cut.width), key=lambda pair: pair[0] / pair[1]
        )
        return (-(-self.size[0] * new // old), -(-self.size[1] * new // old)) if new < old else None

    def on_grid(self, scale: int) -> "Plan":
        """The plan with its first cut widened to whole pixels of an image decoded at 1/`scale`.

        So all elements are cut at the same place, whether they were decoded smaller or not.
        """
        if scale == 1:
            return self
        first = self.steps[0]
        cut = first if isinstance(first, Cut) else Cut(0, 0, *self.size)
        top, left = cut.top // scale * scale, cut.left // scale * scale
        bottom = -(-(cut.top + cut.height) // scale) * scale
        right = -(-(cut.left + cut.width) // scale) * scale
        wider = Cut(top, left, bottom - top, right - left, "border")
        rest = self.steps[1:] if isinstance(first, Cut) else self.steps
        return Plan(self.size, (wider, *rest))

    def __call__(self, element: Any, scale: int = 1) -> Any:
        """The image, mask, points or boxes after all steps; an image may be 1/`scale` as large."""
        if isinstance(element, tv_tensors.KeyPoints):
            xy = self._points(element.as_subclass(Tensor))
            return cast(Any, tv_tensors.KeyPoints)(xy, canvas_size=self.new_size)
        if isinstance(element, tv_tensors.BoundingBoxes):
            return self._boxes(element)
        pixels = element if type(element) is Tensor else element.as_subclass(Tensor)
        if isinstance(element, tv_tensors.Mask):
            return tv_tensors.Mask(self._pixels(pixels, self.steps, "nearest"))
        steps = self.steps
        if scale > 1 and isinstance(steps[0], Cut):
            steps = (steps[0].shrunk(scale), *steps[1:])
        new = self._pixels(pixels, steps, None)
        return tv_tensors.Image(new) if isinstance(element, tv_tensors.Image) else new

    def _pixels(self, pixels: Tensor, steps: tuple[Step, ...], resample: Resample | None) -> Tensor:
        for step in steps:
            pixels = step.pixels(pixels, resample)
        return pixels

    def _points(self, xy: Tensor) -> Tensor:
        size = self.size
        xy = xy if xy.is_floating_point() else xy.float()
        for step in self.steps:
            xy = step.points(xy, size)
            size = step.size(size)
        return xy

    def _boxes(self, boxes: tv_tensors.BoundingBoxes) -> tv_tensors.BoundingBoxes:
        if boxes.format is not tv_tensors.BoundingBoxFormat.XYXY:
            raise ValueError(
                f"boxes are moved as XYXY (left, top, right, bottom), got {boxes.format.value}; "
                "convert them by `torchvision.transforms.v2.ConvertBoundingBoxFormat('XYXY')`"
            )
        corners = self._points(boxes.as_subclass(Tensor).reshape(-1, 2, 2))
        height, width = self.new_size
        limit = corners.new_tensor([width, height])
        corners = torch.cat([corners.amin(1), corners.amax(1)], -1).view(-1, 2, 2)
        corners = corners.clamp(limit.new_zeros(2), limit).view(-1, 4)
        new = cast(Any, tv_tensors.BoundingBoxes)
        return new(corners, format=boxes.format, canvas_size=(height, width))


def _nearest(old: int, new: int) -> Tensor:
    """Which of `old` pixels lies under the centre of each of `new`."""
    return (torch.arange(new) * 2 + 1) * old // (2 * new)


def _folded(start: int, length: int, size: int, pad_mode: PadName) -> Tensor:
    """Which pixel stands at each place from `start` on: inside itself, outside by `pad_mode`."""
    places = torch.arange(start, start + length)
    if pad_mode == "border" or size == 1:
        return places.clamp(0, size - 1)
    period = 2 * (size - 1)  # the outermost pixel stands once, as in `torch.nn.functional.pad`
    places = places % period
    return torch.where(places < size, places, period - places)
