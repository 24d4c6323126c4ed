"""The item stage: opens the images of an item as large as its transforms need, and applies them."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from learnlite.vision.image import LazyImage
from learnlite.vision.item_tfms import ItemTransform, size_of
from learnlite.vision.steps import Plan, Size

Item = tuple[Any, ...]


class ItemStage:
    """What makes an item ready for a batch: images opened, and transforms applied, in their order.

    Called with a tuple in which images may be `LazyImage`s; those of JPEGs are decoded no larger
    than the first transforms need. `tfms` is one transform or several: ours, any of torchvision's,
    albumentations' or a function of the tuple that returns one as long. In validation
    (`training=False`) the transforms work as after `eval()`.

    >>> from learnlite.vision.item_tfms import Resize
    >>> stage = ItemStage(Resize(32), training=False)
    >>> image, label = stage((LazyImage(np.zeros((40, 60, 3), np.uint8)), 7))
    >>> image.shape, label
    (torch.Size([3, 32, 32]), 7)
    """

    def __init__(self, tfms: Any = (), *, training: bool = True) -> None:
        self.training = training
        self.tfms = [_in_mode(tfm, training) for tfm in _listed(tfms)]
        self._runs: list[list[ItemTransform] | Callable[[Item], Item]] = []
        for tfm in self.tfms:
            last = self._runs[-1] if self._runs else None
            if not isinstance(tfm, ItemTransform):
                self._runs.append(_on_items(tfm))
            elif isinstance(last, list):
                last.append(tfm)
            else:
                self._runs.append([tfm])

    def __call__(self, item: Sequence[Any]) -> Item:
        elements = tuple(item)
        for run in self._runs:
            elements = _moved(run, elements) if isinstance(run, list) else run(_read(elements))
        return _read(elements)

    def __repr__(self) -> str:
        return f"ItemStage({self.tfms}, training={self.training})"


class OnlyTraining(nn.Module):
    """A transform that is left out in validation, as torchvision's random ones should be.

    >>> flip = OnlyTraining(v2.RandomHorizontalFlip(1.0))
    >>> image = tv_tensors.Image(torch.tensor([[[1, 2]]]))
    >>> [ItemStage(flip, training=training)((image,))[0].tolist() for training in (True, False)]
    [[[[2, 1]]], [[[1, 2]]]]
    """

    def __init__(self, tfm: Any) -> None:
        super().__init__()
        self.tfm = tfm
        self._on_items = _on_items(tfm)

    def forward(self, item: Item) -> Item:
        return self._on_items(item) if self.training else item


class OnArrays:
    """A transform in albumentations' form: called as `tfm(image=array)`, it returns a dict.

    A mask goes along as `mask=`. Albumentations' own need no such wrapping, they are recognized.

    >>> def invert(image):
    ...     return {"image": 255 - image}
    >>> (image,) = ItemStage(OnArrays(invert))((tv_tensors.Image(torch.zeros(3, 4, 6).byte()),))
    >>> image.unique().tolist()
    [255]
    """

    def __init__(self, tfm: Any) -> None:
        self.tfm = tfm

    def __call__(self, item: Item) -> Item:
        named = {_array_name(element): i for i, element in enumerate(item)}
        named.pop("", None)
        arrays = {name: _array(item[i]) for name, i in named.items()}
        if sum(size_of(element) is not None for element in item) > len(arrays):
            raise ValueError(
                f"`{_name(self.tfm)}` is called with one image and one mask, got two of a kind; "
                "give a function of the item that calls it as it should be called"
            )
        reseed = getattr(self.tfm, "set_random_seed", None)
        if reseed is not None:  # it has a generator of its own, which knows nothing of the item
            reseed(int(torch.randint(1 << 31, ())))
        new = self.tfm(**arrays)
        elements = list(item)
        for name, i in named.items():
            elements[i] = _element(new[name], name)
        return tuple(elements)

    def __repr__(self) -> str:
        return f"OnArrays({self.tfm!r})"


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
        plan, scale = plans.get(size) or _planned(tfms, draws, size), 1
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


def _planned(tfms: list[ItemTransform], draws: list[list[float]], size: Size) -> Plan:
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


def _listed(tfms: Any) -> list[Any]:
    """One transform, several, or a `Compose` of them, as a list."""
    if isinstance(tfms, v2.Compose):
        tfms = cast(Any, tfms).transforms
    if isinstance(tfms, Iterable) and not isinstance(tfms, nn.Module):
        return [tfm for several in cast(Iterable[Any], tfms) for tfm in _listed(several)]
    tfm = tfms() if isinstance(tfms, type) else tfms
    if not callable(tfm):
        raise TypeError(
            f"an item transform is called with the item, but this `{_name(tfm)}` cannot be called"
        )
    return [tfm]


def _in_mode(tfm: Any, training: bool) -> Any:
    # A copy, so that the same transform may serve training and validation.
    return copy.deepcopy(tfm).train(training) if isinstance(tfm, nn.Module) else tfm


def _on_items(tfm: Any) -> Callable[[Item], Item]:
    """A transform of others as a function of the item."""
    module = type(tfm).__module__
    if isinstance(tfm, ItemTransform | OnlyTraining | OnArrays):
        return tfm
    if any(base.__module__.split(".")[0] == "albumentations" for base in type(tfm).__mro__):
        return OnArrays(tfm)
    if module.startswith("torchvision.transforms.") and not isinstance(tfm, v2.Transform):
        return _OnImages(tfm)  # the older ones know images alone
    if isinstance(tfm, v2.RandomHorizontalFlip | v2.RandomVerticalFlip):
        return _Mirroring(tfm)
    return _Checked(tfm)


class _OnImages:
    def __init__(self, tfm: Any) -> None:
        self.tfm = tfm

    def __call__(self, item: Item) -> Item:
        return tuple(
            tv_tensors.Image(self.tfm(element.as_subclass(Tensor)))
            if isinstance(element, tv_tensors.Image)
            else element
            for element in item
        )


class _Mirroring:
    """A flip of torchvision, which mirrors points as if counted from the first pixel's centre."""

    def __init__(self, tfm: Any) -> None:
        self.tfm = tfm
        one_pixel = cast(Any, tv_tensors.KeyPoints)([[0.0, 0.0]], canvas_size=(1, 1))
        self.lacks = 1 - v2.functional.horizontal_flip(one_pixel)[0, 0].item()

    def __call__(self, item: Item) -> Item:
        return _shifted(self.tfm(_shifted(item, -self.lacks / 2)), self.lacks / 2)


def _shifted(item: Item, by: float) -> Item:
    return tuple(
        cast(Any, tv_tensors).wrap(element.as_subclass(Tensor) + by, like=element)
        if isinstance(element, tv_tensors.KeyPoints)
        else element
        for element in item
    )


class _Checked:
    """Any function of the item, watched that it returns one as long."""

    def __init__(self, tfm: Any) -> None:
        self.tfm = tfm

    def __call__(self, item: Item) -> Item:
        new = self.tfm(item)
        if not isinstance(new, tuple | list) or len(cast(Sequence[Any], new)) != len(item):
            raise TypeError(
                f"the item transform `{_name(self.tfm)}` is called with the item, a tuple of "
                f"{len(item)} elements, and must return one as long; got a `{_name(new)}`"
            )
        return tuple(cast(Sequence[Any], new))


def _array_name(element: Any) -> str:
    if isinstance(element, tv_tensors.KeyPoints | tv_tensors.BoundingBoxes):
        raise ValueError(
            f"albumentations' transforms move images and masks here, not {_kind(element)}; "
            "use a transform of `learnlite` or `torchvision.transforms.v2`"
        )
    if isinstance(element, tv_tensors.Image):
        return "image"
    return "mask" if isinstance(element, tv_tensors.Mask) else ""


def _array(element: Tensor) -> Any:
    array = element.as_subclass(Tensor).numpy()
    return np.ascontiguousarray(array.transpose(1, 2, 0)) if array.ndim == 3 else array


def _element(new: Any, name: str) -> Tensor:
    if name == "mask":
        return tv_tensors.Mask(torch.as_tensor(new))
    if isinstance(new, Tensor):  # albumentations' ToTensorV2 was the last of them
        return tv_tensors.Image(new)
    array = np.ascontiguousarray(new)
    pixels = torch.from_numpy(array if array.ndim == 3 else array[..., None])
    return tv_tensors.Image(pixels.permute(2, 0, 1))


def _kind(element: Any) -> str:
    kinds = ((tv_tensors.Mask, "mask"), (tv_tensors.KeyPoints, "points"))
    return next((kind for known, kind in kinds if isinstance(element, known)), "boxes")


def _name(value: Any) -> str:
    return getattr(value, "__name__", type(value).__name__)
