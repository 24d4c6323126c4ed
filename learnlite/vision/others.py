"""Item transforms of others: torchvision's, albumentations', functions of the item.

What they give back is put into the types by which the next transforms know images and masks.
"""

import inspect
from collections.abc import Callable, Iterable, Sequence
from typing import Any, cast

import numpy as np
import torch
import torchvision.transforms as old
from PIL import Image
from torch import Tensor, nn
from torchvision import tv_tensors
from torchvision.transforms import v2

from learnlite.vision.image import LazyImage, load_mask, to_element
from learnlite.vision.item_tfms import ItemTransform, size_of

Item = tuple[Any, ...]

# The older transforms see a PIL image, but for these, which take tensors alone.
_OF_TENSORS = (
    old.Normalize,
    old.ConvertImageDtype,
    old.RandomErasing,
    old.LinearTransformation,
    old.ToPILImage,
)
_MOST = 20  # no image of 0 to 1 is brighter, even after `Normalize`


class OnlyTraining(nn.Module):
    """A transform that is left out in validation, as torchvision's random ones should be.

    >>> from learnlite.vision.item_stage import ItemStage
    >>> flip = OnlyTraining(v2.RandomHorizontalFlip(1.0))
    >>> image = tv_tensors.Image(torch.tensor([[[1, 2]]]))
    >>> [ItemStage(flip, training=training)((image,))[0].tolist() for training in (True, False)]
    [[[[2, 1]]], [[[1, 2]]]]
    """

    def __init__(self, tfm: Any) -> None:
        super().__init__()
        self.tfm = tfm
        self._on_items = on_items(tfm)

    def forward(self, item: Item) -> Item:
        return self._on_items(item) if self.training else item


class OnArrays:
    """A transform in albumentations' form: called as `tfm(image=array)`, it returns a dict.

    A mask goes along as `mask=`. Albumentations' own need no such wrapping, they are recognized.

    >>> from learnlite.vision.item_stage import ItemStage
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
                f"`{name_of(self.tfm)}` is called with one image and one mask, got two of a kind; "
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


def listed(tfms: Any) -> list[Any]:
    """One transform, several, or a `Compose` of them, as a list."""
    if isinstance(tfms, v2.Compose):
        tfms = cast(Any, tfms).transforms
    is_size = isinstance(tfms, tuple) and tfms and all(isinstance(side, int) for side in tfms)
    is_one = isinstance(tfms, nn.Module | str) or callable(tfms) or is_size
    if isinstance(tfms, Iterable) and not is_one:
        return [tfm for several in cast(Iterable[Any], tfms) for tfm in listed(several)]
    if isinstance(tfms, type):
        return [_made(tfms)]
    if not callable(tfms):
        meant = f"; did you mean `Resize({tfms!r})`?" if is_size or isinstance(tfms, int) else ""
        raise TypeError(
            f"an item transform is called with the item, but {tfms!r} cannot be called{meant}"
        )
    if inspect.isfunction(tfms) and (tfms.__module__ or "").startswith("learnlite."):
        name = tfms.__name__
        if "<" not in tfms.__qualname__:  # no function made by another
            raise TypeError(f"`{name}` makes transforms, and is none; call it: `{name}(…)`")
    return [tfms]


def on_items(tfm: Any) -> Callable[[Item], Item]:
    """A transform of others as a function of the item."""
    module = type(tfm).__module__
    if isinstance(tfm, ItemTransform | OnlyTraining | OnArrays):
        return tfm
    if any(base.__module__.split(".")[0] == "albumentations" for base in type(tfm).__mro__):
        return OnArrays(tfm)
    if module.startswith("torchvision.transforms.") and not isinstance(tfm, v2.Transform):
        return OnImages(tfm)  # the older ones know images alone
    if isinstance(tfm, v2.RandomHorizontalFlip | v2.RandomVerticalFlip):
        return _Mirroring(tfm)
    return _Checked(tfm)


def retyped(new: Item, before: Item, first: Sequence[Any], *, pil: bool = True) -> Item:
    """What a transform made of `before`, with types: an image stays one, and a mask a mask.

    `first` is the item as it was opened. Without `pil`, PIL images stay, for the next function.

    >>> before = (tv_tensors.Image(torch.zeros(1, 2, 2)), 3)
    >>> new = retyped((torch.ones(1, 2, 2), 3), before, before)
    >>> type(new[0]).__name__, new[1]
    ('Image', 3)
    """
    return tuple(
        _retyped(element, old_one, opened, pil)
        if isinstance(element, Image.Image | np.ndarray) or type(element) is Tensor
        else element
        for element, old_one, opened in zip(new, before, first, strict=True)
    )


def _retyped(new: Any, before: Any, opened: Any, pil: bool) -> Any:
    if isinstance(new, Image.Image) and not pil:
        return new
    if isinstance(opened, LazyImage | tv_tensors.Image):
        return _element(new, "image")
    if isinstance(opened, tv_tensors.Mask):
        return _element(new, "mask")
    n = {tv_tensors.KeyPoints: 2, tv_tensors.BoundingBoxes: 4}.get(type(before))
    if n and isinstance(new, Tensor) and new.shape[-1:] == (n,):
        return cast(Any, tv_tensors).wrap(new, like=before)
    return new


class OnImages:
    """One of torchvision's older transforms, on each image alone: a PIL image, where it may be."""

    def __init__(self, tfm: Any) -> None:
        self.tfm = tfm

    def __call__(self, item: Item) -> Item:
        return tuple(
            self._changed(element) if isinstance(element, tv_tensors.Image) else element
            for element in item
        )

    def _changed(self, image: tv_tensors.Image) -> Tensor:
        pixels: Any = image.as_subclass(Tensor)
        is_pil = image.dtype is torch.uint8 and image.shape[0] <= 4
        if is_pil and not isinstance(_first(self.tfm), _OF_TENSORS):
            pixels = v2.functional.to_pil_image(pixels)
        new = self.tfm(pixels)
        if not isinstance(new, Tensor | Image.Image | np.ndarray):
            raise TypeError(
                f"the item transform `{name_of(self.tfm)}` must make an image of an image, got "
                f"a `{type(new).__name__}`; leave it out"
            )
        return _element(new, "image")


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
    """Any function of the item, watched that it returns one as long, and images of 0 to 1."""

    def __init__(self, tfm: Any) -> None:
        self.tfm = tfm

    def __call__(self, item: Item) -> Item:
        try:
            new = self.tfm(item)
        except (AttributeError, TypeError) as error:
            error.add_note(
                f"an item transform is called with the whole item, a tuple of {len(item)} "
                "elements; of a function of the image alone make "
                "`lambda item: (function(item[0]), *item[1:])`"
            )
            raise
        if not isinstance(new, tuple | list) or len(cast(Sequence[Any], new)) != len(item):
            raise TypeError(
                f"the item transform `{name_of(self.tfm)}` is called with the item, a tuple of "
                f"{len(item)} elements, and must return one as long; got a `{name_of(new)}`"
            )
        for old_one, element in zip(item, cast(Sequence[Any], new), strict=True):
            if isinstance(old_one, tv_tensors.Image) and isinstance(element, Tensor):
                self._check_floats(old_one, element)
        return tuple(cast(Sequence[Any], new))

    def _check_floats(self, before: Tensor, new: Tensor) -> None:
        if not new.is_floating_point() or before.is_floating_point() or not new.numel():
            return
        if new.max() > _MOST:
            raise ValueError(
                f"the item transform `{name_of(self.tfm)}` makes floats up to "
                f"{new.max().item():g} of an image, and those count from 0 to 1; divide by 255, "
                "as `v2.ToDtype(torch.float32, scale=True)` does, or let images stay bytes"
            )


def name_of(value: Any) -> str:
    """The name of a function or a class, or that of the class of anything else."""
    return getattr(value, "__name__", type(value).__name__)


def _made(kind: type) -> Any:
    """A transform of that class without settings."""
    needed = [
        parameter.name
        for parameter in inspect.signature(kind).parameters.values()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    if needed:
        shown = "224" if needed == ["size"] else ", ".join(f"{name}=…" for name in needed)
        raise TypeError(
            f"the item transform `{kind.__name__}` needs {' and '.join(f'`{n}`' for n in needed)}; "
            f"give `{kind.__name__}({shown})`"
        )
    return kind()


def _first(tfm: Any) -> Any:
    """The transform that sees the image first, in a `Compose` of the older ones."""
    return _first(cast(Any, tfm).transforms[0]) if isinstance(tfm, old.Compose) else tfm


def _array_name(element: Any) -> str:
    if isinstance(element, tv_tensors.KeyPoints | tv_tensors.BoundingBoxes):
        kind = "points" if isinstance(element, tv_tensors.KeyPoints) else "boxes"
        raise ValueError(
            f"albumentations' transforms move images and masks here, not {kind}; "
            "use a transform of `learnlite` or `torchvision.transforms.v2`"
        )
    if isinstance(element, tv_tensors.Image):
        return "image"
    return "mask" if isinstance(element, tv_tensors.Mask) else ""


def _array(element: Tensor) -> Any:
    array = element.as_subclass(Tensor).numpy()
    return np.ascontiguousarray(array.transpose(1, 2, 0)) if array.ndim == 3 else array


def _element(new: Any, name: str) -> Tensor:
    """A tensor, an array (height, width, channels) or a PIL image as a typed element."""
    if name == "mask":
        if isinstance(new, Image.Image):
            return load_mask(new)
        codes = torch.as_tensor(new)
        is_one = codes.ndim == 3 and codes.shape[0] == 1
        return tv_tensors.Mask(codes[0] if is_one else codes)
    if isinstance(new, Image.Image):
        return to_element(new)
    if isinstance(new, Tensor):  # as albumentations' `ToTensorV2` gives it
        return tv_tensors.Image(new)
    array = np.ascontiguousarray(new)
    pixels = torch.from_numpy(array if array.ndim == 3 else array[..., None])
    return tv_tensors.Image(pixels.permute(2, 0, 1))
