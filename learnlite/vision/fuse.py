"""How neighbouring batch transforms are fused: matrices multiplied, each pixel read once."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import torch
from torch import Tensor

from learnlite.shapes import shape_of
from learnlite.types import BatchTransform
from learnlite.vision.sampling import (
    Box,
    Cropping,
    Mirroring,
    Sampling,
    Size,
    levels,
    moved,
    moved_boxes,
    product,
    slices,
)

_PAD_MODES = ("zeros", "border", "reflection")
_MODES = ("bilinear", "nearest", "bicubic")


class PixelOp(Protocol):
    """What is drawn to change the values of pixels: a number or more for each sample."""

    def __call__(self, x: Tensor, rows: slice | Tensor) -> Tensor:
        """Float images changed in place; `rows` says which samples of the batch they are."""
        ...

    def then(self, following: "PixelOp") -> "PixelOp | None":
        """Both in one, or None if that cannot be."""
        ...


class _Transform(ABC):
    def __call__(
        self,
        batch: Any,
        kinds: tuple[str | None, ...] | None = None,
        training: bool = True,
        *,
        split_idx: int | None = None,
    ) -> Any:
        """The batch after it; images alone, or one image, need no `kinds`.

        `split_idx` is fastai's word for `training`: 0 for what is trained on, 1 for validation.
        """
        training = training if split_idx is None else split_idx == 0
        with torch.no_grad():
            if kinds is None:
                return on_images(self, batch, training)
            return FusedTransform([cast("PixelTransform", self)])(batch, kinds, training)

    def __repr__(self) -> str:
        given = {key: value for key, value in vars(self).items() if value is not None}
        shown = (f"{key}={value!r}" for key, value in given.items() if key[0] != "_")
        return f"{type(self).__name__}({', '.join(shown)})"

    @abstractmethod
    def goes_with(self, previous: object) -> bool:
        """Whether both can be done in one pass."""


class PixelTransform(_Transform):
    """The base of what changes the values of pixels, and not their places."""

    order: ClassVar[int] = 40

    @abstractmethod
    def operation(self, x: Tensor, training: bool) -> PixelOp | None:
        """What to do, drawn for the images `x`, or None for nothing."""

    def goes_with(self, previous: object) -> bool:
        return True


class SpaceTransform(_Transform):
    """The base of what moves pixels: a matrix for each sample says where they come from.

    `size` is that of the new images, by default that of the old; `mode` is "bilinear", "nearest" or
    "bicubic", and `pad_mode` what lies outside of an image: "zeros", "border" or "reflection".
    """

    order: ClassVar[int] = 30
    projective: ClassVar[bool] = False

    def __init__(self, size: int | Size | None, mode: str, pad_mode: str) -> None:
        if mode not in _MODES:
            raise ValueError(f"`mode` is one of {_MODES}, got {mode!r}")
        if pad_mode not in _PAD_MODES:
            raise ValueError(f"`pad_mode` is one of {_PAD_MODES}, got {pad_mode!r}")
        self.size = None if size is None else as_size(size)
        self.mode = mode
        self.pad_mode = pad_mode

    @abstractmethod
    def matrix(self, x: Tensor, canvas: Size) -> Tensor | None:
        """Drawn for the images `x`, (samples, 3, 3), or None if all stay where they are.

        `canvas` is the height and width that images have at this point.
        """

    def span(self, canvas: Size) -> tuple[float, float]:
        """How far apart pixels come to lie, at least and at most, if `size` is that of `canvas`."""
        return 1.0, 1.0

    def mirrors(self, canvas: Size) -> bool:
        """Whether pixels only change places, so that nothing lies between them."""
        return False

    def box(self, canvas: Size) -> Box | None:
        """Top, left, height and width of what validation is to see, or None for all."""
        return None

    def goes_with(self, previous: object) -> bool:
        return isinstance(previous, SpaceTransform) and (previous.mode, previous.pad_mode) == (
            self.mode,
            self.pad_mode,
        )


class FusedTransform:
    """Transforms that move pixels, then such that change them, in one pass over the batch.

    On a CPU the pass goes over a few images at a time, which stay in its cache.
    """

    def __init__(self, tfms: Sequence["SpaceTransform | PixelTransform"]) -> None:
        self.spaces = [tfm for tfm in tfms if isinstance(tfm, SpaceTransform)]
        self.pixels = [tfm for tfm in tfms if isinstance(tfm, PixelTransform)]

    def __call__(
        self, batch: tuple[Tensor, ...], kinds: tuple[str | None, ...], training: bool
    ) -> tuple[Tensor, ...]:
        first = _first_image(batch, kinds)
        if first is None:
            return batch
        canvas: Size = (first.shape[-2], first.shape[-1])
        sampling = None
        if self.spaces:
            sampling = (self._drawn if training else self._fixed)(first, canvas)
        ops = self._operations(first, training)
        return tuple(
            self._changed(x, kind, canvas, sampling, ops)
            for x, kind in zip(batch, kinds, strict=True)
        )

    def __repr__(self) -> str:
        return " + ".join(map(repr, [*self.spaces, *self.pixels]))

    def _drawn(self, x: Tensor, canvas: Size) -> Sampling | None:
        matrix: Tensor | None = None
        low, high, size = 1.0, 1.0, canvas
        projective, mirroring = False, True
        for tfm in self.spaces:
            new = tfm.matrix(x, size)
            if new is not None:
                least, most = tfm.span(size)
                low, high = low * least, high * most
                projective |= tfm.projective
                mirroring &= tfm.mirrors(size)
                matrix = new if matrix is None else product(matrix, new)
            size = tfm.size or size
        if matrix is None:
            return self._fixed(x, canvas)
        mode, pad_mode = self.spaces[0].mode, self.spaces[0].pad_mode
        if mirroring and size == canvas:
            return Mirroring(matrix, size, mode, pad_mode)
        factors = (1.0,)
        if mode == "bilinear":
            ratio = (canvas[0] * canvas[1] / (size[0] * size[1])) ** 0.5
            factors = levels(low * ratio, high * ratio)
        return Sampling(matrix, size, mode, pad_mode, projective, factors)

    def _fixed(self, x: Tensor, canvas: Size) -> Sampling | None:
        """What validation sees: the centre where a part is to be seen, in the size asked for."""
        matrix = torch.eye(3, device=x.device)[None]
        steps: list[tuple[Box, Size]] = []
        size = canvas
        for tfm in self.spaces:
            box = tfm.box(size)
            if box is None and tfm.size in (None, size):
                continue
            old, (top, left, height, width) = size, box or (0, 0, *size)
            size = tfm.size or (height, width)
            steps.append(((top, left, height, width), size))
            matrix = product(matrix, _shown((top, left, height, width), old, x.device))
        if not steps:
            return None
        matrix = matrix.expand(len(x), 3, 3)
        mode, pad_mode = self.spaces[0].mode, self.spaces[0].pad_mode
        if mode == "bilinear":
            return Cropping(matrix, size, mode, pad_mode, steps=tuple(steps))
        return Sampling(matrix, size, mode, pad_mode)

    def _operations(self, x: Tensor, training: bool) -> list[PixelOp]:
        ops: list[PixelOp] = []
        for tfm in self.pixels:
            op = tfm.operation(x, training)
            if op is None:
                continue
            joined = ops[-1].then(op) if ops else None
            if joined is None:
                ops.append(op)
            else:
                ops[-1] = joined
        return ops

    def _changed(
        self,
        x: Tensor,
        kind: str | None,
        canvas: Size,
        sampling: Sampling | None,
        ops: Sequence[PixelOp],
    ) -> Tensor:
        if kind in ("points", "boxes") and sampling is not None:
            move = moved if kind == "points" else moved_boxes
            return move(x, sampling.matrix, canvas, sampling.size)
        if kind in ("image", "mask") and sampling is not None and x.shape[-2:] != canvas:
            size = sampling.size if sampling.size != canvas else (x.shape[-2], x.shape[-1])
            sampling = sampling.general(size)
        if kind == "image":
            return changed_images(x, sampling, ops, by_parts=x.device.type == "cpu")
        return sampling.nearest(x) if kind == "mask" and sampling is not None else x


def changed_images(
    x: Tensor, sampling: Sampling | None, ops: Sequence[PixelOp], *, by_parts: bool
) -> Tensor:
    """Images sampled anew and then changed, as floats: all at once, or some at a time."""
    check_images(x)
    if sampling is None and not ops and x.is_floating_point():
        return x
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    kept = torch.channels_last if last else torch.contiguous_format
    dtype = x.dtype if x.is_floating_point() else torch.float32
    if not by_parts:
        new = x if sampling is None else sampling.whole(x)
        new = _in_unit(new, x, sampling)
        return _applied(ops, new, slice(None)).to(dtype).contiguous(memory_format=kept)
    _keep_heap()
    out: Tensor | None = None
    for rows, part in _parts(x, sampling):
        new = _applied(ops, _in_unit(part, x, sampling), rows)
        if out is None:
            out = _empty((len(x), *new.shape[1:]), dtype, last)
        if isinstance(rows, slice):
            out[rows] = new
        else:
            out.index_copy_(0, rows, new.to(dtype))
    assert out is not None
    return out


def on_images(tfm: BatchTransform, x: Any, training: bool) -> Tensor:
    """A batch transform on images alone, or on one.

    >>> on_images(lambda batch, kinds, training: batch, torch.zeros(3, 4, 6), True).shape
    torch.Size([3, 4, 6])
    """
    if not isinstance(x, Tensor):
        name = getattr(tfm, "__name__", type(tfm).__name__)
        is_batch = isinstance(x, tuple | list)
        way_out = (
            f"give kinds too: `{name}(…)(batch, ('image', None), True)`"
            if is_batch
            else "make it a tensor, as `ToTensor()(image)` does"
        )
        raise TypeError(
            f"`{name}` changes images, tensors (samples, channels, height, width), and batches "
            f"of which `kinds` tell what they are; got a `{type(x).__name__}`: {way_out}"
        )
    x = x.as_subclass(Tensor)
    (new,) = tfm((x if x.ndim != 3 else x[None],), ("image",), training)
    return new if x.ndim != 3 else new[0]


def check_images(x: Tensor) -> None:
    """Refuse what is no batch of images, of bytes or floats."""
    if x.ndim != 4:
        raise ValueError(
            "images of a batch have the shape (samples, channels, height, width), got "
            f"{shape_of(x)}"
        )
    if x.dtype is not torch.uint8 and not x.is_floating_point():
        raise TypeError(
            f"images are bytes or floats, got {x.dtype}; make them floats from 0 to 1, for example "
            "by `IntToFloatTensor(div=65535)`"
        )


def to_unit(x: Tensor) -> Tensor:
    """Images as floats from 0 to 1; floats as they are.

    >>> to_unit(torch.full((1, 1, 1, 1), 51, dtype=torch.uint8)).item()
    0.20000000298023224
    """
    check_images(x)
    return x if x.is_floating_point() else x.float().div_(255)


def as_size(size: int | Size) -> Size:
    """Height and width of `size`, a number for squares.

    >>> as_size(224), as_size((128, 96))
    ((224, 224), (128, 96))
    """
    sides = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise TypeError(f"`size` is a number of pixels or (height, width), got {size!r}")
    if min(sides) < 1:
        raise ValueError(f"`size` counts pixels and must be at least 1, got {size}")
    return sides


def _parts(x: Tensor, sampling: Sampling | None) -> Iterator[tuple[slice | Tensor, Tensor]]:
    if sampling is not None:
        yield from sampling.parts(x)
        return
    for rows in slices(len(x), (x.shape[-2], x.shape[-1])):
        yield rows, x[rows]


def _in_unit(new: Tensor, old: Tensor, sampling: Sampling | None) -> Tensor:
    """What was read from `old`, in floats from 0 to 1, and no longer the same memory."""
    if old.is_floating_point():
        return new.to(torch.float32, copy=sampling is None or isinstance(sampling, Cropping))
    new = new.float()
    if sampling is not None and sampling.mode == "bicubic":
        new = new.clamp_(0, 255)  # cubics overshoot
    return new.div_(255)


def _applied(ops: Sequence[PixelOp], x: Tensor, rows: slice | Tensor) -> Tensor:
    for op in ops:
        x = op(x, rows)
    return x


def _empty(shape: tuple[int, ...], dtype: torch.dtype, channels_last: bool) -> Tensor:
    n, channels, height, width = shape
    order = (n, height, width, channels) if channels_last else shape
    # numpy asks for large pages on Linux: a new batch of 38 MB costs 8 ms instead of 28
    plain = dtype is torch.float32
    new = (
        torch.from_numpy(np.empty(order, np.float32)) if plain else torch.empty(order, dtype=dtype)
    )
    return new.permute(0, 3, 1, 2) if channels_last else new


@cache
def _keep_heap() -> None:
    """Let the C library keep what is freed between two parts, and not fetch and clear it anew.

    glibc learns from the largest block that was freed how much to keep: a quarter of the time.
    """
    torch.empty(31 << 20, dtype=torch.uint8)  # never touched, so it costs nothing


def _shown(box: Box, canvas: Size, device: torch.device) -> Tensor:
    """The matrix of a new image that shows a box of the old."""
    top, left, height, width = box
    rows, columns = canvas
    matrix = torch.eye(3, device=device)
    matrix[0, 0] = width / columns
    matrix[1, 1] = height / rows
    matrix[0, 2] = (2 * left + width) / columns - 1
    matrix[1, 2] = (2 * top + height) / rows - 1
    return matrix[None]


def _first_image(batch: Sequence[Tensor], kinds: Sequence[str | None]) -> Tensor | None:
    """The images that set the size for all; without any, a mask; None if nothing is to change."""
    for wanted in ("image", "mask"):
        for x, kind in zip(batch, kinds, strict=True):
            if kind == wanted:
                return x
    if "points" in kinds or "boxes" in kinds:
        raise ValueError(
            f"the batch has no images that tell in what size its points or boxes lie: kinds {kinds}"
        )
    return None
