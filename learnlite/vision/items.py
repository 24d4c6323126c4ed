"""A dataset of items that blocks open and item transforms change."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torchvision import tv_tensors

from learnlite.data.vocab import Vocab
from learnlite.data.wording import quoted
from learnlite.types import counted
from learnlite.vision.bad_images import BadImages
from learnlite.vision.blocks import Block, box_labels
from learnlite.vision.decode import MODES
from learnlite.vision.image import LazyImage
from learnlite.vision.item_stage import ItemStage
from learnlite.vision.item_tfms import size_of
from learnlite.vision.later_items import as_ours
from learnlite.vision.pixel_store import Kept

Getter = Callable[[Any], Any]


class BlockItems:
    """The items of one set: `[i]` is a tuple with an element for each block, ready for a batch.

    An item's randomness is torch's, so that a `Loader` makes it a function of (seed, epoch, index).
    With `bad`, another item takes the place of one whose image does not open.
    """

    def __init__(
        self,
        items: Sequence[Any],
        blocks: Sequence[Block],
        getters: Sequence[Getter],
        item_tfms: Any = (),
        *,
        training: bool,
        n_inp: int,
        bad: BadImages | None = None,
    ) -> None:
        self.items = items
        self.blocks = tuple(blocks)
        self.getters = tuple(getters)
        self.item_tfms = item_tfms
        self.training = training
        self.n_inp = n_inp
        self.bad = bad
        self.stage = ItemStage(item_tfms, training=training)
        self._box_labels = box_labels(blocks)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        return self.read(self.items[i]) if self.bad is None else self.bad.read(self, i)

    def read(self, item: Any) -> tuple[Any, ...]:
        """The elements of an item, opened and transformed."""
        return self.changed(item, self.opened(item))

    def opened(self, item: Any, kept: Mapping[int, Kept] | None = None) -> list[Any]:
        """The elements of an item as its blocks open them, but for those that were `kept`."""
        elements: list[Any] = []
        size = None
        for i, (block, getter) in enumerate(zip(self.blocks, self.getters, strict=True)):
            if kept is not None and i in kept:
                element = kept[i]
            else:
                source = self.source(getter, item)
                element = _opened(block, source, size, item, getter)
            if size is None and block.kind == "image":
                size = element.size if isinstance(element, LazyImage | Kept) else size_of(element)
            elements.append(element)
        for i, place in self._box_labels.items():
            n, n_labels = len(elements[i]), len(elements[place])
            if n != n_labels:
                raise ValueError(
                    f"{_shown(item)} has {n} box{'' if n == 1 else 'es'} and "
                    f"{counted(n_labels, 'label')} of boxes; each box needs one"
                )
        return elements

    def changed(self, item: Any, elements: Sequence[Any]) -> tuple[Any, ...]:
        """The elements of an item after the item transforms, ready for a batch."""
        with self.changing(item):
            return self.plain(self.stage(elements))

    def changing(self, item: Any) -> "_Told":
        """Says on an error that it came while this item was changed."""
        return _Told(lambda: f"while `item_tfms` changed the item {_shown(item)}")

    def plain(self, elements: Sequence[Any]) -> tuple[Any, ...]:
        """Without the types that told transforms what they are: batches are plain tensors."""
        return tuple(_plain(element) for element in elements)

    def source(self, getter: Getter, item: Any) -> Any:
        """What a getter makes of an item."""
        with _Told(lambda: f"while `{_name(getter)}` read the item {_shown(item)}"):
            return getter(item)

    def collate(self, items: Sequence[tuple[Any, ...]]) -> tuple[Tensor, ...]:
        """A batch of these items."""
        columns = list(zip(*items, strict=True))
        for i, place in self._box_labels.items():
            if place < len(columns):
                _check_each_labelled(columns[i], columns[place])
        return tuple(
            block.collate(list(column)) for block, column in zip(self.blocks, columns, strict=False)
        )

    def test_set(self, items: Any, with_labels: bool = False) -> "BlockItems":
        """Other items in the way of validation; without labels they are inputs only.

        What is an input already, as an image or a file where our items are rows of a table, needs
        no getter.
        """
        n = len(self.blocks) if with_labels else self.n_inp
        items, getters = as_ours(items, self.items, self.getters[:n], is_inputs=n == 1)
        return BlockItems(
            items,
            self.blocks[:n],
            getters,
            self.item_tfms,
            training=False,
            n_inp=self.n_inp,
        )

    def in_mode(self, training: bool) -> "BlockItems":
        """The same items, changed as in training or as in validation."""
        if training == self.training:
            return self
        return BlockItems(
            self.items,
            self.blocks,
            self.getters,
            self.item_tfms,
            training=training,
            n_inp=self.n_inp,
            bad=self.bad,
        )

    @property
    def vocab(self) -> Vocab | None:
        """The names of the classes of the last block that has any."""
        vocabs = [block.vocab for block in self.blocks[self.n_inp :] if block.vocab is not None]
        return Vocab(vocabs[-1]) if vocabs else None

    def __repr__(self) -> str:
        kind = "training" if self.training else "validation"
        return f"BlockItems({len(self):,} items for {kind}, blocks {list(self.blocks)})"


def _opened(
    block: Block, source: Any, size: tuple[int, int] | None, item: Any, getter: Getter
) -> Any:
    with _Told(lambda: f"while `{block!r}` opened {_from(source, item, getter)}"):
        return _typed(block.open(source, size, _shown(item)), block.kind)


def _typed(element: Any, kind: str | None) -> Any:
    """What a block opened, in the type by which transforms know images and masks."""
    if kind == "image" and isinstance(element, Image.Image):
        return LazyImage(element, element.mode if element.mode in MODES else "RGB")
    if type(element) is Tensor and kind in ("image", "mask"):
        return tv_tensors.Image(element) if kind == "image" else tv_tensors.Mask(element)
    return element


def _from(source: Any, item: Any, getter: Getter) -> str:
    if source is item:
        return f"the item {_shown(item)} as it is"
    return f"{_shown(source)}, which `{_name(getter)}` gave for the item {_shown(item)}"


class _Told:
    """Says on an error what was being done; only then it is put into words, which take 50 µs."""

    __slots__ = ("_doing",)

    def __init__(self, doing: Callable[[], str]) -> None:
        self._doing = doing

    def __enter__(self) -> None: ...

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, Exception):
            error.add_note(self._doing())


def _check_each_labelled(boxes: Sequence[Any], labels: Sequence[Any]) -> None:
    for some, theirs in zip(boxes, labels, strict=True):
        if len(some) != len(theirs):
            raise ValueError(
                f"`item_tfms` leave an item {len(some)} boxes and {len(theirs)} labels of boxes; "
                "each box needs one, so what drops boxes must drop their labels too"
            )


def _plain(element: Any) -> Any:
    if type(element) is Tensor or not isinstance(element, Tensor):
        return element
    return element.as_subclass(torch.Tensor)


def _shown(value: Any) -> str:
    if isinstance(value, PurePath):
        return quoted(value).strip("`")  # nothing that a terminal would obey
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _name(getter: Any) -> str:
    return getattr(getter, "__name__", None) or repr(getter)
