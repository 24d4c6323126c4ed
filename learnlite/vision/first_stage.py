"""The part of the item stage that is the same every time, and the rest of it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise, takewhile
from typing import Any, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import tv_tensors

from learnlite.vision.image import LazyImage
from learnlite.vision.item_stage import ItemStage, planned
from learnlite.vision.item_tfms import ItemTransform, RandomResizedCrop, Resize, size_of
from learnlite.vision.pixel_store import Kept
from learnlite.vision.steps import Cut, Plan, Scale, Size

_MOST_THREADS = 4  # between the steps of C there is Python, which only one thread can run
_LEAST_PER_THREAD = 8  # images


class FirstStage:
    """Splits an item stage: `keep` does what nothing random is in, `finish` the rest.

    What is kept are the pixels after the leading transforms that draw nothing. If already the
    first draws, they are those of the whole image, of a JPEG decoded as small as every draw allows.

    >>> stage = FirstStage(ItemStage(Resize(32), training=False))
    >>> stage.is_all
    True
    >>> image = LazyImage(torch.zeros(3, 40, 60, dtype=torch.uint8))
    >>> kept = stage.keep([image, 7], [0])
    >>> kept[0].pixels.shape, stage.finish([kept[0], 7])[0].shape
    (torch.Size([3, 32, 32]), torch.Size([3, 32, 32]))
    """

    def __init__(self, stage: ItemStage) -> None:
        leading = list(takewhile(lambda tfm: isinstance(tfm, ItemTransform), stage.tfms))
        self.sure: list[ItemTransform] = list(takewhile(_is_sure, leading))
        self.random: list[ItemTransform] = leading[len(self.sure) :]
        rest = stage.tfms[len(leading) :]
        self.after = ItemStage(rest, training=stage.training) if rest else None
        self.is_all = not self.random and not rest
        """Whether there is nothing to do after it."""
        self.shaping = self.sure or [tfm for tfm in self.random[:1] if _knows_least(tfm)]
        """The transforms that say what is kept."""
        self._leasts: dict[Size, Size | None] = {}

    def keep(self, elements: Sequence[Any], places: Sequence[int]) -> list[Kept] | None:
        """The pixels of the images and masks at `places`; None if they cannot be kept."""
        sizes: dict[int, Size] = {}
        for i, element in enumerate(elements):
            size = element.size if isinstance(element, LazyImage) else size_of(element)
            if size is not None:
                sizes[i] = size
        images = {size for i, size in sizes.items() if _is_image(elements[i])}
        if any(i not in sizes for i in places) or (images and set(sizes.values()) - images):
            return None
        draws = [tfm.draw() for tfm in self.sure]  # nothing random
        plans: dict[Size, Plan] = {}
        grids: dict[Size, int] = {}
        read: list[tuple[Any, int]] = []
        for i in places:
            element, size = elements[i], sizes[i]
            plan = plans.get(size) or planned(self.sure, draws, size)
            pixels, scale = element, 1
            if isinstance(element, LazyImage):
                least = plan.at_least() if self.sure else self._least(size)
                pixels, scale = element.read_scaled(least)
                plan = plan.on_grid(scale) if self.sure else plan
            plans[size] = plan
            grids[size] = max(grids.get(size, 1), scale)
            read.append((pixels, scale))
        return [
            Kept(
                _plain(plans[sizes[i]](pixels, scale) if self.sure else pixels),
                sizes[i],
                scale,
                grids[sizes[i]],
            )
            for i, (pixels, scale) in zip(places, read, strict=True)
        ]

    def finish(self, elements: Sequence[Any], masks: Sequence[int] = ()) -> tuple[Any, ...]:
        """The item after the rest of the stage; those of `elements` that are `Kept` were kept."""
        new = self.planned(elements)
        for i, element in enumerate(elements):
            if isinstance(element, Kept):
                new[i] = new[i](i in masks)
        if self.after is None:
            return tuple(new)
        for i, element in enumerate(elements):
            if isinstance(element, Kept):  # others' transforms may change it in place
                typed = tv_tensors.Mask(new[i]) if i in masks else tv_tensors.Image(new[i])
                new[i] = apart(typed, element.pixels)
        return self.after(new)

    def planned(self, elements: Sequence[Any]) -> list[Any]:
        """The item with a `Pending` for each that is `Kept`, and the others moved by its plan."""
        draws = [tfm.draw() for tfm in self.random]
        grids: dict[Size, int] = {}
        new = list(elements)
        for i, element in enumerate(elements):
            if isinstance(element, Kept):
                grids[element.size] = element.grid
                new[i] = self._pending(element, draws)
        for i, element in enumerate(elements):
            if not isinstance(element, Kept) and (size := size_of(element)) is not None:
                sure = [tfm.draw() for tfm in self.sure]
                plan = planned([*self.sure, *self.random], [*sure, *draws], size)
                new[i] = plan.on_grid(grids.get(size, 1))(element)
        return new

    def _pending(self, kept: Kept, draws: Sequence[Sequence[float]]) -> "Pending":
        if self.sure:
            height, width = kept.pixels.shape[-2:]
            return Pending(kept.pixels, planned(self.random, draws, (height, width)), 1)
        plan = planned(self.random, draws, kept.size).on_grid(kept.grid)
        return Pending(kept.pixels, plan, kept.scale)

    def _least(self, size: Size) -> Size | None:
        if not self.shaping:
            return None
        if size not in self._leasts:  # photos of a set have few sizes
            self._leasts[size] = self.random[0].at_least(*size)
        return self._leasts[size]


class Pending(NamedTuple):
    """Kept pixels, and what is still to be done with them: nothing of it is random any more."""

    pixels: Tensor
    plan: Plan
    scale: int

    def __call__(self, is_mask: bool = False) -> Tensor:
        if not self.plan.steps:
            return self.pixels
        if is_mask:
            return _plain(self.plan(tv_tensors.Mask(self.pixels)))
        return self.plan(self.pixels, self.scale)

    def to_resize(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor | None:
        """What is only to be resized to `shape`, as a batch of one; None if there is more to do."""
        steps, pixels = self.plan.steps, self.pixels
        if len(steps) != 2 or not isinstance(steps[0], Cut) or not isinstance(steps[1], Scale):
            return None
        cut = steps[0] if self.scale == 1 else steps[0].shrunk(self.scale)
        new = (pixels.shape[0], steps[1].height, steps[1].width)
        is_so = new == shape and pixels.dtype == dtype and steps[1].resample == "bilinear"
        if (
            not is_so
            or (cut.height, cut.width) == new[1:]
            or not cut.within((pixels.shape[1], pixels.shape[2]))
        ):
            return None
        strides = pixels.stride()
        first = pixels.storage_offset() + cut.top * strides[1] + cut.left * strides[2]
        # In one step, which costs a third of two slices; the first stride is as in a true batch.
        strides = (cut.height * strides[1], *strides)
        return pixels.as_strided((1, new[0], cut.height, cut.width), strides, first)


def gathered(column: Sequence[Pending], is_mask: bool = False, threads: int = 1) -> Tensor | None:
    """The pixels of a batch, done by several threads at once; None if they differ in size.

    >>> plan = Plan((6, 8), (Cut(1, 1, 4, 4),))
    >>> batch = gathered([Pending(torch.zeros(3, 6, 8), plan, 1) for _ in range(5)], threads=2)
    >>> batch.shape
    torch.Size([5, 3, 4, 4])
    """
    pixels, plan, _ = column[0]
    shape, dtype = pixels.shape, pixels.dtype
    if plan.steps:
        shape = torch.Size((*shape[:-2], *plan.new_size))
    if len(shape) == 3:  # the channels of a pixel side by side, as they come and are wanted
        batch = pixels.new_empty((len(column), *shape[1:], shape[0])).permute(0, 3, 1, 2)
    else:
        batch = pixels.new_empty((len(column), *shape))
    rows = batch.split(1)
    # What can be done before is: behind so many pixels Python finds the processor's caches empty.
    crops = [None if is_mask else pending.to_resize(shape, dtype) for pending in column]

    def fill(part: slice) -> bool:
        for row, crop, pending in zip(rows[part], crops[part], column[part], strict=True):
            if crop is not None:
                near = crop.contiguous(memory_format=torch.channels_last)
                row.copy_(F.interpolate(near, shape[1:], mode="bilinear", antialias=True))
                continue
            pixels = pending(is_mask)
            if pixels.shape != shape or pixels.dtype != dtype:
                return False
            row.copy_(pixels)
        return True

    threads = max(min(threads, _MOST_THREADS, len(column) // _LEAST_PER_THREAD), 1)
    bounds = [len(column) * k // threads for k in range(threads + 1)]
    parts = [slice(*pair) for pair in pairwise(bounds)]
    if threads == 1:
        return batch if fill(parts[0]) else None
    with ThreadPoolExecutor(threads - 1) as pool:  # 0.1 ms: one that stays would not outlive a fork
        others = pool.map(fill, parts[1:])
        is_done = fill(parts[0])
        return batch if all(others) and is_done else None


def apart(new: Any, kept: Tensor) -> Any:
    """`new`, copied if it lies in what is kept."""
    if new.untyped_storage().data_ptr() != kept.untyped_storage().data_ptr():
        return new
    copy = new.as_subclass(Tensor).clone()
    return type(new)(copy) if type(new) is not Tensor else copy


def _is_sure(tfm: ItemTransform) -> bool:
    squishes = isinstance(tfm, Resize) and tfm.method == "squish"
    return not tfm.training or not tfm.n_draws or squishes


def _knows_least(tfm: ItemTransform) -> bool:
    return isinstance(tfm, Resize | RandomResizedCrop)


def _is_image(element: Any) -> bool:
    return isinstance(element, LazyImage | tv_tensors.Image)


def _plain(pixels: Any) -> Tensor:
    return cast(Tensor, pixels.as_subclass(torch.Tensor))
