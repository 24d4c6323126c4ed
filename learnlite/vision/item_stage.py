"""The item stage: opens the images of an item as large as its transforms need, and applies them."""

import copy
from collections.abc import Callable, Sequence
from typing import Any

from torch import nn
from torchvision import tv_tensors

from learnlite.vision.image import LazyImage
from learnlite.vision.item_tfms import ItemTransform, size_of
from learnlite.vision.others import Item, OnImages, listed, on_items, retyped
from learnlite.vision.others import OnArrays as OnArrays
from learnlite.vision.others import OnlyTraining as OnlyTraining
from learnlite.vision.steps import Plan, Size


class ItemStage:
    """What makes an item ready for a batch: images opened, and transforms applied, in their order.

    Called with a tuple in which images may be `LazyImage`s; those of JPEGs are decoded no larger
    than the first transforms need. `tfms` is one transform or several: ours, any of torchvision's,
    albumentations' or a function of the tuple that returns one as long. In validation
    (`training=False`) the transforms work as after `eval()`.

    >>> import numpy as np
    >>> from learnlite.vision.item_tfms import Resize
    >>> stage = ItemStage(Resize(32), training=False)
    >>> image, label = stage((LazyImage(np.zeros((40, 60, 3), np.uint8)), 7))
    >>> image.shape, label
    (torch.Size([3, 32, 32]), 7)
    """

    def __init__(self, tfms: Any = (), *, training: bool = True) -> None:
        self.training = training
        self.tfms = [_in_mode(tfm, training) for tfm in listed(tfms)]
        self._runs: list[list[ItemTransform] | Callable[[Item], Item]] = []
        for tfm in self.tfms:
            last = self._runs[-1] if self._runs else None
            if not isinstance(tfm, ItemTransform):
                self._runs.append(on_items(tfm))
            elif isinstance(last, list):
                last.append(tfm)
            else:
                self._runs.append([tfm])

    def __call__(self, item: Sequence[Any]) -> Item:
        elements = tuple(item)
        for run in self._runs:
            if isinstance(run, list):
                elements = _moved(run, retyped(elements, elements, item))
            else:
                takes_pil = not isinstance(run, OnArrays | OnImages)
                before = _read(retyped(elements, elements, item, pil=not takes_pil))
                elements = retyped(run(before), before, item, pil=False)
        elements = _read(retyped(elements, elements, item))
        if not (self._runs and isinstance(self._runs[-1], list)):
            _check_sizes(elements)
        return elements

    def __repr__(self) -> str:
        return f"ItemStage({self.tfms}, training={self.training})"


def _moved(tfms: list[ItemTransform], elements: Item) -> Item:
    """The elements after our transforms: planned, then read, then moved all by the same plan."""
    draws = [tfm.draw() for tfm in tfms]
    plans: dict[Size, Plan] = {}
    new = list(elements)
    typed: list[tuple[int, Size, int]] = []
    for i, element in enumerate(elements):
        is_lazy = isinstance(element, LazyImage)
        size = element.size if is_lazy else size_of(element)
        if size is None:
            continue
        plan, scale = plans.get(size) or planned(tfms, draws, size), 1
        if is_lazy:
            new[i], scale = element.read_scaled(plan.at_least())
            plan = plan.on_grid(scale)
        plans[size] = plan
        typed.append((i, size, scale))
    if len(plans) > 1:
        _check_sizes(elements)
    for i, size, scale in typed:  # all by the same plan, now that the images have said their scale
        moved = plans[size](new[i], scale)
        is_lazy = isinstance(elements[i], LazyImage)
        new[i] = moved.as_subclass(tv_tensors.Image) if is_lazy else moved
    return tuple(new)


def planned(tfms: Sequence[ItemTransform], draws: Sequence[Sequence[float]], size: Size) -> Plan:
    """The steps of several transforms with what they drew, one after the other, as one plan."""
    if len(tfms) == 1:  # the usual case, at half the cost
        return Plan(size, tuple(tfms[0].steps(size, draws[0])))
    plan = Plan(size)
    for tfm, draw in zip(tfms, draws, strict=True):
        plan = plan.then(tfm.steps(plan.new_size, draw))
    return plan


def _check_sizes(elements: Item) -> None:
    """Several images may differ in size, but what lies over an image must fit one of them."""
    images = [element.size for element in elements if isinstance(element, LazyImage)]
    images += [
        (element.shape[-2], element.shape[-1])
        for element in elements
        if isinstance(element, tv_tensors.Image)
    ]
    for element in elements:
        size = size_of(element)
        if images and size is not None and size not in images:
            raise ValueError(
                f"the image has {images[0][0]} x {images[0][1]} pixels, its {_kind(element)} "
                f"{size[0]} x {size[1]}; they must be equal (was one of them scaled, or turned as "
                "EXIF says?)"
            )


def _read(elements: Item) -> Item:
    return tuple(
        element.read() if isinstance(element, LazyImage) else element for element in elements
    )


def _in_mode(tfm: Any, training: bool) -> Any:
    # A copy, so that the same transform may serve training and validation.
    return copy.deepcopy(tfm).train(training) if isinstance(tfm, nn.Module) else tfm


def _kind(element: Any) -> str:
    kinds = ((tv_tensors.Mask, "mask"), (tv_tensors.KeyPoints, "points"))
    return next((kind for known, kind in kinds if isinstance(element, known)), "boxes")
