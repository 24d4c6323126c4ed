"""Every step from a source to a batch, told: what it gave, or where it failed and why."""

from typing import TYPE_CHECKING, Any

from torch import Tensor

from learnlite.data.shares import RandomSplitter
from learnlite.data.splits import checked_split
from learnlite.vision.image import LazyImage
from learnlite.vision.items import BlockItems

if TYPE_CHECKING:
    from learnlite.vision.datablock import DataBlock


def print_summary(
    block: "DataBlock", source: Any, bs: int, show_batch: bool, settings: dict[str, Any]
) -> None:
    """Go the whole way with one item and one batch, and print each step."""
    print(f"source: {_shown(source)}")
    items = block.items(source)
    print(f"items: {len(items):,}, the first is {_shown(items[0])}")
    train, valid = checked_split(block.splitter or RandomSplitter(), items)
    name = _name(block.splitter) if block.splitter else "RandomSplitter()"
    print(f"split by `{name}`: {len(train):,} to train on, {len(valid):,} to validate")
    sets = block.datasets(source)
    for i, b in enumerate(sets.train.blocks):
        learnt = "" if b.vocab is None else f", {len(b.vocab)} classes: {_few(b.vocab)}"
        print(f"block {i}, {'input' if i < block.n_inp else 'target'}: {b!r}{learnt}")
    _tell_item(sets.train)
    print(f"item_tfms: {block.item_tfms or 'none'}")
    ready = [sets.train[i] for i in range(min(bs, len(sets.train)))]
    for i, item in enumerate(ready):
        print(f"  item {i} ready: {', '.join(_shown(element) for element in item)}")
    dls = block.dataloaders(source, bs=min(bs, len(sets.train)), **settings)
    print(f"batch of {len(ready)}: {', '.join(_shown(part) for part in dls.raw_batch())}")
    print(f"batch_tfms: {dls.batch_tfms[0]!r}")
    print(f"what the model gets: {', '.join(_shown(part) for part in dls.one_batch())}")
    if show_batch:
        dls.show_batch()


def _tell_item(items: BlockItems) -> None:
    item, size = items.items[0], None
    for b, getter in zip(items.blocks, items.getters, strict=True):
        source = items.source(getter, item)
        element = b.open(source, size, _shown(item))
        size = element.size if isinstance(element, LazyImage) and size is None else size
        print(f"  `{_name(getter)}` gives {_shown(source)}, opened as {_shown(element)}")


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        shape = " x ".join(str(n) for n in value.shape) or "a number"
        return f"{type(value).__name__} {shape} of {str(value.dtype).removeprefix('torch.')}"
    text = repr(value) if not hasattr(value, "__fspath__") else str(value)
    return text if len(text) <= 100 else f"{text[:97]}…"


def _few(names: Any) -> str:
    shown = ", ".join(str(name) for name in list(names)[:6])
    return shown + (", …" if len(names) > 6 else "")


def _name(thing: Any) -> str:
    return getattr(thing, "__name__", None) or repr(thing)
