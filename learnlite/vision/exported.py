"""Blocks and their loaders in exported files."""

from operator import itemgetter
from typing import Any, cast

from learnlite.data import DataLoaders
from learnlite.data.categories import (
    Categorize,
    EncodedMultiCategorize,
    MultiCategorize,
    RegressionSetup,
    from_state,
)
from learnlite.data.labels import parent_label
from learnlite.data.wording import short
from learnlite.export.data import (
    ITEM_TFMS,
    NO_AUGMENTATION,
    DataForm,
    WithoutData,
    add_data,
    made_common,
    make_batch_tfms,
    make_tfms,
    tell_common,
)
from learnlite.export.table import ExportError, Table, Told, name_of
from learnlite.tensor_file import FileError
from learnlite.vision import blocks
from learnlite.vision.decode import MODES
from learnlite.vision.exported_tfms import tell_item_tfms
from learnlite.vision.image import PILImage, PILImageBW
from learnlite.vision.items import BlockItems
from learnlite.vision.loaders import BlockLoaders

BLOCKS = Table("block")
_IMAGES = {cls.mode: cls for cls in (PILImage, PILImageBW)}


def _image_block(mode: Any) -> blocks.ImageBlock:
    if mode not in MODES:
        raise ValueError(f"`mode` is one of {MODES}, got {short(mode)}")
    return blocks.ImageBlock(_IMAGES.get(mode) or type("PILImage", (PILImage,), {"mode": mode}))


def _mask_block(codes: Any) -> blocks.MaskBlock:
    if codes is not None and not isinstance(codes, list):
        raise ValueError(f"`codes` are a list of classes, got {short(codes)}")
    return blocks.MaskBlock(cast("list[Any] | None", codes))


def _tell_labels(block: Any) -> Told:
    try:
        return {"labels": block.labels.state()}
    except TypeError as error:
        raise ExportError(f"{block!r}: {error}") from None


def _add_labelled(cls: Any, *kinds: type) -> None:
    def make(labels: Any) -> Any:
        found = from_state(labels) if isinstance(labels, dict) else None
        if not isinstance(found, kinds):
            raise ValueError(f"its labels are {short(labels)}")
        block = cls()
        block.labels = found
        return block

    BLOCKS.add(cls, "labels", tell=_tell_labels, make=make)


def _point_block(c: Any) -> blocks.PointBlock:
    if c is not None and (type(c) is not int or c < 0 or c % 2):
        raise ValueError(f"`c` is twice the number of points, got {short(c)}")
    block = blocks.PointBlock()
    block._n = None if c is None else c // 2  # pyright: ignore[reportPrivateUsage]
    return block


BLOCKS.add(blocks.ImageBlock, "mode", tell=lambda b: {"mode": b.cls.mode}, make=_image_block)
BLOCKS.add(blocks.MaskBlock, "codes", make=_mask_block)
_add_labelled(blocks.CategoryBlock, Categorize)
_add_labelled(blocks.MultiCategoryBlock, MultiCategorize, EncodedMultiCategorize)
_add_labelled(blocks.RegressionBlock, RegressionSetup)
_add_labelled(blocks.BBoxLblBlock, Categorize)
BLOCKS.add(blocks.PointBlock, "c", make=_point_block)
BLOCKS.add(blocks.BBoxBlock)
BLOCKS.add(blocks.TransformBlock)


class ExportedItems(BlockItems):
    """`BlockItems` of a file: an item is a source of the input, or with labels a pair (x, y)."""

    def test_set(self, items: Any, with_labels: bool = False) -> "ExportedItems":
        n = len(self.blocks) if with_labels else self.n_inp
        getters: list[Any] = [itemgetter(i) for i in range(n)] if n > 1 else [_itself]
        if with_labels and n == 2 and self.getters[-1] is parent_label:
            getters = [_itself, parent_label]
        return ExportedItems(
            items, self.blocks[:n], getters, self.item_tfms, training=False, n_inp=self.n_inp
        )

    def in_mode(self, training: bool) -> BlockItems:
        if training:
            raise RuntimeError(NO_AUGMENTATION)
        return self


class LoadersWithoutData(WithoutData, BlockLoaders):
    """The `BlockLoaders` of a file: they open, change, decode and show, and have no data."""


def _tell(dls: DataLoaders) -> Told:
    items = cast(BlockItems, dls.loaders[-1].dataset)
    told_blocks: list[Told] = []
    for block in items.blocks:
        told = BLOCKS.tell(block)
        if told is None:
            raise ExportError(
                f"an exported file holds no code, and the block `{name_of(block)}` is code of "
                "yours; use one of learnlite's, or export the model alone, as by `learn.save`"
            )
        told_blocks.append(told)
    return tell_common(dls) | {
        "blocks": told_blocks,
        "n_block_inp": items.n_inp,
        "by_folder": items.getters[-1] is parent_label,
        "item_tfms": tell_item_tfms(items.stage.tfms),
    }


def _make(told: Told) -> DataLoaders:
    listed = told.get("blocks")
    made = [BLOCKS.make(one) for one in cast("list[Any]", listed if type(listed) is list else [])]
    n_inp = told.get("n_block_inp")
    if not made or type(n_inp) is not int or not 1 <= n_inp <= len(made):
        raise FileError(f"the file has {len(made)} blocks, of which {short(n_inp)} are inputs")
    last = parent_label if told.get("by_folder") is True else _itself
    items = ExportedItems(
        [],
        made,
        [*[_itself] * (len(made) - 1), last],
        make_tfms(ITEM_TFMS, told.get("item_tfms")),
        training=False,
        n_inp=n_inp,
    )
    settings: dict[str, Any] = made_common(told) | {"vocab": items.vocab}
    dls = LoadersWithoutData(items, collate=items.collate, **settings)
    dls.kinds = tuple(block.kind for block in made)
    dls.batch_tfms = make_batch_tfms(told.get("batch_tfms"))
    return dls


def _itself(item: Any) -> Any:
    return item


add_data("BlockLoaders", DataForm(_tell, _make), BlockLoaders, LoadersWithoutData)
