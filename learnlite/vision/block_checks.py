"""What a `DataBlock` refuses of what it is given, before anything is read."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from learnlite.data.labels import plain
from learnlite.data.vocab import Vocab, counted
from learnlite.data.wording import did_you_mean, named, short
from learnlite.vision.blocks import (
    BBoxLblBlock,
    Block,
    CategoryBlock,
    MultiCategoryBlock,
    RegressionBlock,
)


def check_function(name: str, function: Any) -> None:
    """Refuse what cannot be called with an item.

    >>> check_function("get_y", "label")
    Traceback (most recent call last):
    ...
    TypeError: `get_y` is a function of an item, got 'label'; for a column of a table give...
    """
    if callable(function):
        return
    if name == "get_items" and isinstance(function, list | tuple):
        raise TypeError(
            "`get_items` is a function of the source, got a list; leave it out, and give the list "
            "as the source: `dataloaders(items)`"
        )
    if function in ("parent_label", "get_image_files", "get_files"):
        raise TypeError(
            f"`{name}` is a function, got its name; write it without quotes: `{name}={function}`"
        )
    way_out = (
        f"; for a column of a table give `ColReader({function!r})`, for an attribute "
        f"`operator.attrgetter({function!r})`"
        if isinstance(function, str)
        else ""
    )
    raise TypeError(f"`{name}` is a function of an item, got {short(function)}{way_out}")


def check_dl_type(dl_type: Any) -> None:
    """Refuse fastai's argument, which has no meaning here, or a block in its place."""
    if isinstance(dl_type, Block) or (isinstance(dl_type, type) and issubclass(dl_type, Block)):
        raise TypeError(
            "the blocks are given as one: `DataBlock((ImageBlock, CategoryBlock), get_items=...)`"
        )
    if dl_type is not None:
        raise TypeError("`dl_type` has no meaning here: all loaders are of one kind; leave it out")


def check_read(block: Block, item: Any, opened: Sequence[Block]) -> None:
    """Refuse a file as a label: `item` comes to this block, and those `opened`, as it is."""
    is_file = any(other.kind == "image" for other in opened)
    if isinstance(item, PurePath) or (isinstance(item, str) and is_file):
        raise ValueError(
            f"nothing says what `{block!r}` has of a file; give `get_y`, as "
            "`get_y=parent_label` for the name of its folder"
        )


def check_kept(block: Block, labels: Sequence[Any], chosen: Sequence[int], subset: Any) -> None:
    """Refuse a part that is too small to have an item of each class."""
    if not isinstance(block, CategoryBlock):
        return
    all_labels, kept = counted(labels), counted([labels[i] for i in chosen])
    if lost := [label for label in all_labels if label not in kept]:
        raise ValueError(
            f"`subset={subset}` is {len(chosen):,} of {len(labels):,} items to train on, and "
            f"leaves none of the class {named(lost)}; choose at least {len(all_labels):,}"
        )


def check_weights(weights: Any, balanced: bool, block: Block, vocab: Vocab | None) -> None:
    """Refuse to weigh by class what has no class, and classes that are not there."""
    several = isinstance(block, MultiCategoryBlock | RegressionBlock | BBoxLblBlock)
    if (balanced or isinstance(weights, Mapping)) and (several or block.kind is not None):
        raise ValueError(
            f"`{'balanced' if balanced else 'weights'}` goes by the one class of each item, and "
            f"the last block is `{type(block).__name__}`; give `weights` as a list, one for each "
            "item to train on"
        )
    if isinstance(weights, Mapping) and vocab is not None:
        unknown = [label for label in weights if plain(label) not in vocab.o2i]
        if unknown:
            raise ValueError(
                f"`weights` names {named(map(repr, unknown))}, and the classes are "
                f"{named(map(repr, vocab))}{did_you_mean(unknown[0], vocab)}"
            )
