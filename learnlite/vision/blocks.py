"""Blocks: how each element of an item is opened, put into a batch, and read back for people."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor
from torchvision import tv_tensors

from learnlite.data.categories import (
    Categorize,
    EncodedMultiCategorize,
    LabelKind,
    MultiCategorize,
    RegressionSetup,
)
from learnlite.data.vocab import Vocab
from learnlite.data.wording import short
from learnlite.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, MSELossFlat
from learnlite.types import LossFunc
from learnlite.vision.image import LazyImage, PILImage, load_mask

Size = tuple[int, int]


class Block:
    """One element of every item, from its source to its place in the batch, as it comes.

    A block of your own overrides `open`, and what else is not as here. `kind` tells transforms
    what the element is: "image", "mask", "points", "boxes" or None.
    """

    kind: ClassVar[str | None] = None
    batch_tfms: ClassVar[tuple[Any, ...]] = ()
    """Batch transforms that this kind of element always has."""

    @property
    def vocab(self) -> Sequence[Any] | None:
        """The names of the classes, if it has any."""
        return None

    @property
    def c(self) -> int | None:
        """The number of outputs that predict it, if that is known."""
        return None

    @property
    def loss_func(self) -> LossFunc | None:
        """The loss for it as a target; None: chosen from what a batch holds."""
        return None

    def setup(self, train: Sequence[Any], valid: Sequence[Any], items: Any, others: Any) -> None:
        """Learn from the sources of both sets; `items` and `others` name them in errors."""

    def open(self, source: Any, size: Size | None, item: Any) -> Any:
        """The element; `size` is (height, width) of the item's first image, if it has one."""
        return source

    def collate(self, elements: list[Any]) -> Tensor:
        """The elements of a batch as one tensor."""
        return _stacked(elements, self.kind)

    def decode(self, value: Tensor) -> Any:
        """An element of a batch as people read it."""
        return value

    def as_target(self, preds: Tensor) -> Tensor:
        """Decoded outputs of a batch in the form of its targets, as a model may shape them freely.

        >>> PointBlock().as_target(torch.zeros(8, 4)).shape
        torch.Size([8, 2, 2])
        """
        return preds

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class TransformBlock(Block):
    """An element as its getter gives it: a number, an array or a tensor."""


class ImageBlock(Block):
    """Images, from paths, bytes, arrays or PIL images; `cls` says in which colours.

    >>> ImageBlock().open(np.zeros((4, 6, 3), np.uint8), None, "a picture")
    LazyImage(image, 4 x 6, RGB)
    """

    kind = "image"

    def __init__(self, cls: Any = PILImage) -> None:
        if not hasattr(cls, "mode"):
            raise TypeError(
                f"`cls` is `PILImage` or `PILImageBW`, or a class with a `mode` of Pillow's, "
                f"got {cls!r}"
            )
        self.cls = cls

    def open(self, source: Any, size: Size | None, item: Any) -> LazyImage:
        return LazyImage(source, self.cls.mode)

    def __repr__(self) -> str:
        return f"ImageBlock({self.cls.__name__})"


class MaskBlock(Block):
    """Masks, which hold the number of a class for every pixel; `codes` names the classes."""

    kind = "mask"

    def __init__(self, codes: Sequence[Any] | None = None) -> None:
        self.codes = None if codes is None else Vocab(codes)

    @property
    def vocab(self) -> Vocab | None:
        return self.codes

    @property
    def c(self) -> int | None:
        return None if self.codes is None else len(self.codes)

    @property
    def loss_func(self) -> LossFunc:
        return CrossEntropyLossFlat(axis=1)

    def open(self, source: Any, size: Size | None, item: Any) -> tv_tensors.Mask:
        return load_mask(source)


class _LabelBlock(Block):
    """A block of labels, which a `LabelKind` turns into numbers and back."""

    labels: LabelKind

    @property
    def vocab(self) -> Sequence[Any] | None:
        return cast(Any, self.labels).vocab

    @property
    def c(self) -> int | None:
        return self.labels.c

    def setup(self, train: Sequence[Any], valid: Sequence[Any], items: Any, others: Any) -> None:
        self.labels.setup(train, valid or None, items=items, valid_items=others)

    def open(self, source: Any, size: Size | None, item: Any) -> Any:
        return self.labels.encode(source, item)

    def decode(self, value: Tensor) -> Any:
        return self.labels.decode(value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.labels!r})"


class CategoryBlock(_LabelBlock):
    """One class an item.

    >>> block = CategoryBlock(["cat", "dog"])
    >>> block.open("dog", None, "1.jpg"), block.decode(torch.tensor(0))
    (1, 'cat')
    """

    def __init__(
        self, vocab: Sequence[Any] | None = None, sort: bool = True, add_na: bool = False
    ) -> None:
        self.labels = Categorize(vocab, sort, add_na)

    @property
    def loss_func(self) -> LossFunc:
        return CrossEntropyLossFlat()


class MultiCategoryBlock(_LabelBlock):
    """Any number of classes an item; `encoded` ones are a 0 or 1 for each of `vocab` already."""

    def __init__(
        self, encoded: bool = False, vocab: Sequence[Any] | None = None, add_na: bool = False
    ) -> None:
        if encoded and vocab is None:
            names = f": `MultiCategoryBlock(vocab={encoded!r})`" if encoded is not True else ""
            raise ValueError(
                f"labels that are `encoded` need the names of the classes, `vocab`{names}"
            )
        if encoded:
            self.labels = EncodedMultiCategorize(cast(Sequence[Any], vocab))
        else:
            self.labels = MultiCategorize(vocab, add_na)

    @property
    def loss_func(self) -> LossFunc:
        return BCEWithLogitsLossFlat()


class RegressionBlock(_LabelBlock):
    """A number an item, or `n_out` of them."""

    def __init__(self, n_out: int | None = None) -> None:
        self.labels = RegressionSetup(n_out)

    def as_target(self, preds: Tensor) -> Tensor:
        return preds.flatten() if self.c == 1 else preds

    @property
    def loss_func(self) -> LossFunc:
        return MSELossFlat()


class PointBlock(Block):
    """Points (x, y) in the image, in its pixels; in batches from -1 to 1 over the image."""

    kind = "points"

    def __init__(self) -> None:
        self._n: int | None = None

    @property
    def c(self) -> int | None:
        return None if self._n is None else 2 * self._n

    @property
    def loss_func(self) -> LossFunc:
        return MSELossFlat()

    def setup(self, train: Sequence[Any], valid: Sequence[Any], items: Any, others: Any) -> None:
        if len(train):
            self._n = len(_points(train[0], items[0]))

    def open(self, source: Any, size: Size | None, item: Any) -> tv_tensors.KeyPoints:
        points = _points(source, item)
        if self._n is not None and len(points) != self._n:
            raise ValueError(f"{item} has {len(points)} points, the first item {self._n}")
        make: Any = tv_tensors.KeyPoints
        return make(points, canvas_size=_canvas(size, "points", item))

    def as_target(self, preds: Tensor) -> Tensor:
        return preds.reshape(len(preds), -1, 2)


class BBoxBlock(Block):
    """Boxes (left, top, right, bottom) in the image's pixels; batches are padded with zeros."""

    kind = "boxes"

    def open(self, source: Any, size: Size | None, item: Any) -> tv_tensors.BoundingBoxes:
        boxes = _numbers(source, 4, "boxes are (left, top, right, bottom)", item)
        if (boxes[:, 2:] < boxes[:, :2]).any():
            box = next(box for box in boxes.tolist() if box[2] < box[0] or box[3] < box[1])
            raise ValueError(
                f"{item} has the box {box}, which ends before it begins; boxes are (left, top, "
                "right, bottom): of (left, top, width, height) make these by adding"
            )
        make: Any = tv_tensors.BoundingBoxes
        return make(boxes, format="XYXY", canvas_size=_canvas(size, "boxes", item))

    def collate(self, elements: list[Any]) -> Tensor:
        return _padded(elements)


class BBoxLblBlock(_LabelBlock):
    """The class of each box; 0, `#na#`, stands for the boxes that fill up a batch."""

    def __init__(self, vocab: Sequence[Any] | None = None, add_na: bool = True) -> None:
        self.labels = Categorize(vocab, True, add_na)
        self.labels.exclusive = False  # a place without a box is told from one class

    def setup(self, train: Sequence[Any], valid: Sequence[Any], items: Any, others: Any) -> None:
        pairs = [
            [
                (label, item)
                for labels, item in zip(part, names, strict=True)
                for label in _labels_of_boxes(labels, item)
            ]
            for part, names in ((train, items), (valid, others))
        ]
        (flat, named), (flat_valid, named_valid) = (
            ([label for label, _ in part], [item for _, item in part]) for part in pairs
        )
        super().setup(flat, flat_valid, named, named_valid)

    def open(self, source: Any, size: Size | None, item: Any) -> Tensor:
        labels = _labels_of_boxes(source, item)
        return torch.tensor([self.labels.encode(label, item) for label in labels]).long()

    def collate(self, elements: list[Any]) -> Tensor:
        return _padded(elements)

    def decode(self, value: Tensor) -> list[Any]:
        return [self.labels.decode(label) for label in value]


def box_labels(blocks: Sequence[Block]) -> dict[int, int]:
    """For the place of each block of boxes that of their labels: after it, or else before it.

    >>> box_labels([ImageBlock(), BBoxBlock(), BBoxLblBlock()])
    {1: 2}
    """
    free = [i for i, block in enumerate(blocks) if isinstance(block, BBoxLblBlock)]
    found: dict[int, int] = {}
    for i, block in enumerate(blocks):
        if block.kind == "boxes" and free:
            found[i] = next((place for place in free if place > i), free[-1])
            free.remove(found[i])
    return found


def _stacked(elements: list[Any], kind: str | None) -> Tensor:
    first = elements[0]
    if not isinstance(first, Tensor):
        return torch.as_tensor(np.asarray(elements))
    shapes = {tuple(element.shape) for element in elements}
    if len(shapes) > 1:
        shown = " and ".join(str(shape) for shape in sorted(shapes)[:2])
        way_out = (
            "make them one size by `Resize(224)` as the last of `item_tfms`"
            if kind in ("image", "mask")
            else "give them one shape in their getter, or a block with a `collate` of its own"
        )
        what = f"{kind}s" if kind in ("image", "mask") else kind or "items"
        raise ValueError(f"the {what} of a batch differ in shape, as {shown}; {way_out}")
    tensors = [e if type(e) is Tensor else e.as_subclass(Tensor) for e in elements]
    if first.ndim == 3 and first.stride(0) == 1:  # pixel by pixel, as decoders give them
        return torch.stack([tensor.permute(1, 2, 0) for tensor in tensors]).permute(0, 3, 1, 2)
    return torch.stack(tensors)


def _padded(elements: list[Tensor]) -> Tensor:
    longest = max(len(element) for element in elements)
    padded = elements[0].new_zeros((len(elements), longest, *elements[0].shape[1:]))
    for row, element in zip(padded, elements, strict=True):
        row[: len(element)] = element
    return padded.as_subclass(Tensor)


def _labels_of_boxes(source: Any, item: Any) -> Iterable[Any]:
    if isinstance(source, str) or not isinstance(source, Iterable):
        raise TypeError(
            f"{item}: the labels of boxes are a list, one for each box, got {short(source)}; give "
            f"`[{short(source)}]` if there is one box"
        )
    return cast(Iterable[Any], source)


def _points(source: Any, item: Any) -> Tensor:
    return _numbers(source, 2, "points are pairs (x, y)", item)


def _numbers(source: Any, n: int, form: str, item: Any) -> Tensor:
    """Rows of `n` numbers."""
    try:
        rows = torch.as_tensor(np.asarray(source, dtype=np.float32))
    except (TypeError, ValueError):
        raise ValueError(f"{item}: {form} of numbers, got {short(source)}") from None
    if rows.numel() % n:
        raise ValueError(f"{item}: {form}, got {rows.numel()} numbers")
    if not rows.isfinite().all():
        raise ValueError(
            f"{item}: {form} of finite numbers, got {short(rows.tolist())}; leave the item out, or "
            "give a place"
        )
    return rows.reshape(-1, n)


def _canvas(size: Size | None, what: str, item: Any) -> Size:
    if size is None:
        raise ValueError(
            f"{item}: {what} lie in an image, and there is none before them; begin the blocks with "
            "`ImageBlock`"
        )
    return size
