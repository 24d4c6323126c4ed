"""Transforms of single items, on the CPU: to one size, and a few turns, with fastai's names.

Each is a `torchvision.transforms.v2.Transform` and acts on tuples of images, masks, points and
boxes alike. In evaluation (`tfm.eval()`) it draws nothing: it takes the middle, and turns nothing.
"""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from learnlite.data.wording import short
from learnlite.vision.image import PILImage, PILMask, load_mask, to_element
from learnlite.vision.steps import Cut, PadName, Plan, Resample, Scale, Size, Step, Turn
from learnlite.vision.tfm_settings import one_of, probability, resample_given, size_given

_PAD_MODES = ("reflection", "border", "zeros")
_METHODS = ("crop", "pad", "squish")
_TRIES = 10  # to find a crop that lies in the image


class ResizeMethod:
    """What `Resize` may do with an image of another shape, as names."""

    Crop: ClassVar = "crop"
    Pad: ClassVar = "pad"
    Squish: ClassVar = "squish"


class PadMode:
    """What may stand outside of an image, as names."""

    Zeros: ClassVar = "zeros"
    Border: ClassVar = "border"
    Reflection: ClassVar = "reflection"


def size_of(value: Any) -> Size | None:
    """The (height, width) of an image or mask, or of the image that points or boxes lie in.

    >>> size_of(tv_tensors.Image(torch.zeros(3, 4, 6))), size_of(torch.zeros(3)), size_of(7)
    ((4, 6), None, None)
    """
    if isinstance(value, tv_tensors.Image | tv_tensors.Mask):
        return value.shape[-2], value.shape[-1]
    if isinstance(value, tv_tensors.KeyPoints | tv_tensors.BoundingBoxes):
        height, width = value.canvas_size
        return height, width
    return None


def _is_untyped_image(value: object) -> bool:
    return type(value) is Tensor and value.ndim >= 3


class ItemTransform(v2.Transform, ABC):
    """The base of our item transforms: `draw` draws numbers, `steps` says what comes of them.

    A subclass gives `steps(size, draw)`; what it does not draw from `draw` is the same for all.
    """

    _transformed_types = (
        tv_tensors.Image,
        tv_tensors.Mask,
        tv_tensors.KeyPoints,
        tv_tensors.BoundingBoxes,
        Image.Image,
        _is_untyped_image,
    )
    n_draws: ClassVar[int] = 0
    """How many random numbers a call takes."""

    def draw(self) -> list[float]:
        """Numbers from 0 to 1 of torch's default generator; in evaluation each is a half."""
        if not self.n_draws:
            return []
        return torch.rand(self.n_draws).tolist() if self.training else [0.5] * self.n_draws

    @abstractmethod
    def steps(self, size: Size, draw: Sequence[float]) -> list[Step]:
        """What happens to an image of this size, by the numbers that were drawn."""

    def plan(self, size: Size, draw: Sequence[float] | None = None) -> Plan:
        """The steps for images of one size; ask it `at_least()` before decoding them.

        >>> Resize(224).plan((800, 600)).at_least()
        (299, 224)
        """
        return Plan(size, tuple(self.steps(size, self.draw() if draw is None else draw)))

    def at_least(self, height: int, width: int) -> Size | None:
        """The smallest size of an image that loses nothing, whatever is drawn; None if it may.

        >>> Resize(224).at_least(800, 600), RandomCrop(224).at_least(800, 600)
        ((299, 224), None)
        """
        return self.plan((height, width), [0.5] * self.n_draws).at_least()

    def forward(self, *inputs: Any, split_idx: int | None = None) -> Any:
        """The image, or all elements alike; `split_idx` 0 is as in training, 1 as in validation."""
        if len(inputs) == 1 and not isinstance(inputs[0], tuple | list | dict):
            self._check(inputs[0])
        if split_idx is None:
            return super().forward(*inputs)
        return copy.copy(self).train(split_idx == 0).forward(*inputs)

    def _check(self, image: Any) -> None:
        if not any(
            isinstance(image, known) if isinstance(known, type) else known(image)
            for known in self._transformed_types
        ):
            name = type(self).__name__
            raise TypeError(
                f"`{name}` changes images, from `PILImage.create` or `read_image`, or tensors "
                f"(channels, height, width), and what lies over them; got {short(image)}"
            )

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        return {"draw": self.draw()}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        if isinstance(inpt, Image.Image):
            if isinstance(inpt, PILMask):
                return type(inpt).create(self.transform(load_mask(inpt), params))
            new = v2.functional.to_pil_image(self.transform(to_element(inpt), params))
            return type(inpt).create(new) if isinstance(inpt, PILImage) else new
        size = size_of(inpt) or (inpt.shape[-2], inpt.shape[-1])
        return self.plan(size, params["draw"])(inpt)


class Resize(ItemTransform):
    """To one size, whatever the shape: the excess cut off, the rest filled up, or squeezed.

    `size` is (height, width), or one number for both. Cut and filled up is at a random place in
    training, and evenly in validation, as in fastai. Masks are always resized by "nearest".

    >>> image = tv_tensors.Image(torch.zeros(3, 40, 60, dtype=torch.uint8))
    >>> Resize(32)(image).shape, Resize((16, 32), method="pad", pad_mode="zeros")(image).shape
    (torch.Size([3, 32, 32]), torch.Size([3, 16, 32]))
    """

    n_draws = 2

    def __init__(
        self,
        size: int | Size,
        method: Literal["crop", "pad", "squish"] = "crop",
        pad_mode: PadName = "reflection",
        resamples: Any = ("bilinear", "nearest"),
    ) -> None:
        super().__init__()
        self.size = size_given(size)
        self.method = one_of("method", method, _METHODS)
        self.pad_mode: PadName = one_of("pad_mode", pad_mode, _PAD_MODES)
        self.resample: Resample = resample_given(resamples)

    def draw(self) -> list[float]:
        return [] if self.method == "squish" else super().draw()

    def steps(self, size: Size, draw: Sequence[float]) -> list[Step]:
        (height, width), (new_height, new_width) = size, self.size
        if self.method == "squish":
            return [Scale(*self.size, self.resample)]
        if self.method == "crop":
            share = min(height / new_height, width / new_width)
            inner = (_rounded(share * new_height, height), _rounded(share * new_width, width))
            return [_placed(size, inner, draw), Scale(*self.size, self.resample)]
        # Made smaller first and filled up then, which is much less to fill up.
        share = min(new_height / height, new_width / width)
        inner = (_rounded(share * height, new_height), _rounded(share * width, new_width))
        return [Scale(*inner, self.resample), _placed(inner, self.size, draw, self.pad_mode)]


class RandomResizedCrop(ItemTransform):
    """A random part of the image, `min_scale` to `max_scale` of its area, resized to `size`.

    In validation the whole image is resized and `val_xtra` of it cut off at the edges, as in
    fastai: in both, things look about as large.

    >>> image = tv_tensors.Image(torch.zeros(3, 40, 60, dtype=torch.uint8))
    >>> RandomResizedCrop(32, min_scale=0.35)(image).shape
    torch.Size([3, 32, 32])
    """

    n_draws = 2 * _TRIES + 2

    def __init__(
        self,
        size: int | Size,
        min_scale: float = 0.08,
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        resamples: Any = ("bilinear", "nearest"),
        val_xtra: float = 0.14,
        max_scale: float = 1.0,
    ) -> None:
        super().__init__()
        self.size = size_given(size)
        if not 0 < min_scale <= max_scale:
            raise ValueError(
                "`min_scale` and `max_scale` are shares of an image's area, above 0 and in this "
                f"order, got {min_scale} and {max_scale}"
            )
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"`ratio` is (least, largest) width by height, got {ratio}")
        if val_xtra < 0:
            raise ValueError(f"`val_xtra` must be at least 0, got {val_xtra}")
        self.min_scale = min_scale
        self.max_scale = max_scale
        self.ratio = ratio
        self.val_xtra = val_xtra
        self.resample: Resample = resample_given(resamples)

    def steps(self, size: Size, draw: Sequence[float]) -> list[Step]:
        if not self.training:
            # a multiple of 8, as fastai has it
            extra = math.ceil(max(self.size) * self.val_xtra / 8) * 8
            outer = (self.size[0] + extra, self.size[1] + extra)
            return [Scale(*outer, self.resample), _placed(outer, self.size, (0.5, 0.5))]
        inner = self._inner(size, draw)
        return [_placed(size, inner, draw[-2:]), Scale(*self.size, self.resample)]

    def _inner(self, size: Size, draw: Sequence[float]) -> Size:
        height, width = size
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        for i in range(0, 2 * _TRIES, 2):
            share = self.min_scale + draw[i] * (self.max_scale - self.min_scale)
            ratio = math.exp(low + draw[i + 1] * (high - low))
            inner = _inner_size(size, share, ratio)
            if inner[0] <= height and inner[1] <= width:
                return inner
        # None fits: the image is much longer than `ratio` allows, so take the most of it.
        return self._most(size)

    def _most(self, size: Size) -> Size:
        height, width = size
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        return min(height, round(width / ratio)) or 1, min(width, round(height * ratio)) or 1

    def at_least(self, height: int, width: int) -> Size | None:
        """The size from which also the smallest crop need not be enlarged.

        >>> RandomResizedCrop(128, min_scale=0.35).at_least(400, 500)
        (224, 280)
        """
        size = (height, width)
        if not self.training:
            return super().at_least(height, width)
        # The crops with the fewest rows, the fewest columns, and the one taken when none fits.
        candidates = [_inner_size(size, self.min_scale, ratio) for ratio in self.ratio]
        candidates.append(self._most(size))
        rows = min(min(candidate[0] for candidate in candidates), height)
        columns = min(min(candidate[1] for candidate in candidates), width)
        return Plan(size, (Cut(0, 0, rows, columns), Scale(*self.size, self.resample))).at_least()


class CropPad(ItemTransform):
    """The middle of the image, at its own scale; what is missing is filled up.

    >>> CropPad((4, 8))(tv_tensors.Image(torch.ones(1, 6, 6)))[0, 0].tolist()
    [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    """

    def __init__(self, size: int | Size, pad_mode: PadName = "zeros") -> None:
        super().__init__()
        self.size = size_given(size)
        self.pad_mode: PadName = one_of("pad_mode", pad_mode, _PAD_MODES)

    def steps(self, size: Size, draw: Sequence[float]) -> list[Step]:
        top, left = (size[0] - self.size[0]) // 2, (size[1] - self.size[1]) // 2
        return [Cut(top, left, *self.size, self.pad_mode)]


class RandomCrop(ItemTransform):
    """A part of the image at its own scale, from a random place; in validation the middle.

    What a smaller image lacks is filled up with zeros.

    >>> RandomCrop(4)(tv_tensors.Image(torch.ones(1, 6, 9))).shape
    torch.Size([1, 4, 4])
    """

    n_draws = 2

    def __init__(self, size: int | Size) -> None:
        super().__init__()
        self.size = size_given(size)

    def steps(self, size: Size, draw: Sequence[float]) -> list[Step]:
        return [_placed(size, self.size, draw)]


class RatioResize(ItemTransform):
    """The longer side becomes `max_sz`, the shape stays.

    >>> RatioResize(30)(tv_tensors.Image(torch.ones(1, 40, 60))).shape
    torch.Size([1, 20, 30])
    """

    def __init__(self, max_sz: int, resamples: Any = ("bilinear", "nearest")) -> None:
        super().__init__()
        self.max_sz = size_given(max_sz)[0]
        self.resample: Resample = resample_given(resamples)

    def steps(self, size: Size, draw: Sequence[float]) -> list[Step]:
        height, width = (max(side * self.max_sz // max(size), 1) for side in size)
        return [Scale(height, width, self.resample)]


class FlipItem(ItemTransform):
    """Left for right, with probability `p`; never in validation.

    >>> FlipItem(p=1)(tv_tensors.Image(torch.tensor([[[1, 2, 3]]]))).tolist()
    [[[3, 2, 1]]]
    """

    n_draws = 1

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        self.p = probability(p)

    def steps(self, size: Size, draw: Sequence[float]) -> list[Step]:
        return [Turn(flip_x=True)] if self.training and draw[0] < self.p else []


class DihedralItem(ItemTransform):
    """With probability `p` one of the eight ways a square can lie, at random; never in validation.

    One of the eight is as it was. Heights and widths change places in half of them.

    >>> DihedralItem(p=0)(tv_tensors.Image(torch.tensor([[[1, 2, 3]]]))).tolist()
    [[[1, 2, 3]]]
    """

    n_draws = 2

    def __init__(self, p: float = 1.0) -> None:
        super().__init__()
        self.p = probability(p)

    def steps(self, size: Size, draw: Sequence[float]) -> list[Step]:
        if not self.training or draw[0] >= self.p:
            return []
        way = int(draw[1] * 8)
        return [Turn(bool(way & 1), bool(way & 2), bool(way & 4))]


class ToTensor(ItemTransform):
    """A PIL image as bytes (channels, height, width); in loaders images are tensors already.

    >>> ToTensor()(Image.new("RGB", (6, 4))).shape
    torch.Size([3, 4, 6])
    """

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return to_element(inpt) if isinstance(inpt, Image.Image) else inpt

    def steps(self, size: Size, draw: Sequence[float]) -> list[Step]:
        return []


def _placed(outer: Size, inner: Size, draw: Sequence[float], pad_mode: PadName = "zeros") -> Cut:
    """`inner` at a place in `outer`, or around it; each possible place is as likely as others."""
    top, left = (
        min(int(share * (abs(free) + 1)), abs(free)) * (1 if free >= 0 else -1)
        for share, free in zip(draw, (outer[0] - inner[0], outer[1] - inner[1]), strict=True)
    )
    return Cut(top, left, *inner, pad_mode)


def _inner_size(size: Size, share: float, ratio: float) -> Size:
    area = share * size[0] * size[1]
    return max(round(math.sqrt(area / ratio)), 1), max(round(math.sqrt(area * ratio)), 1)


def _rounded(value: float, most: int) -> int:
    return min(max(round(value), 1), most)
