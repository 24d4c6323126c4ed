"""Every step from a source to a batch, told: what it gave, or where it failed and why."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from learnlite.data.wording import quoted
from learnlite.vision.batch_tfms import IntToFloatTensor
from learnlite.vision.blocks import Block
from learnlite.vision.image import LazyImage
from learnlite.vision.items import BlockItems
from learnlite.vision.loaders import BlockLoaders

if TYPE_CHECKING:
    from learnlite.vision.datablock import DataBlock


_MOST_ITEMS = 4


def print_summary(
    block: "DataBlock", source: Any, bs: int, show_batch: bool, settings: dict[str, Any]
) -> None:
    """Go the whole way with one item and one batch, and print each step."""
    print(f"source: {_shown(source)}")
    if isinstance(source, Iterator):  # each step begins with it anew
        source = list(cast(Iterator[Any], source))
    with _step("finding the items"):
        items = block.items(source)
        print(f"items: {len(items):,}, the first is {_shown(items[0])}")
    with _step("splitting them"):
        train, valid = block.split(source)
        name = _name(block.splitter) if block.splitter else "RandomSplitter()"
        print(f"split by `{name}`: {len(train):,} to train on, {len(valid):,} to validate")
    with _step("reading all labels"):
        sets = block.datasets(source)
        for i, b in enumerate(sets.train.blocks):
            print(f"block {i}, {'input' if i < block.n_inp else 'target'}: {_told(b)}")
    _tell_item(sets.train)
    n = min(bs, len(sets.train))
    _tell_changed(sets.train, block.item_tfms, n)
    with _step("making loaders and putting items into a batch"):
        dls = block.dataloaders(source, bs=n, **settings)
        print(f"batch of {n}: {', '.join(_shown(part) for part in dls.raw_batch())}")
    _tell_batch_tfms(dls)
    with _step("changing the batch by `batch_tfms`"):
        print(f"what the model gets: {', '.join(_shown(part) for part in dls.one_batch())}")
    if show_batch:
        dls.show_batch()


def _tell_batch_tfms(dls: BlockLoaders) -> None:
    """The batch transforms; the one that only makes floats of bytes is told by the way."""
    own: Any = dls.batch_tfms[0]
    plain = [t for t in own.tfms if isinstance(t, IntToFloatTensor) and t.div == 255]
    tfms = [f"  {tfm!r}" for tfm in own.tfms if tfm not in plain]
    told = " (images of bytes are floats from 0 to 1 for them)" if "image" in dls.kinds else ""
    print(f"batch_tfms{told}:", *(tfms or ["  none"]), sep="\n")


def _tell_item(items: BlockItems) -> None:
    item, size = items.items[0], None
    print(f"the first item to train on, {_shown(item)}:")
    for b, getter in zip(items.blocks, items.getters, strict=True):
        with _step(f"opening the item {_shown(item)} by `{type(b).__name__}`"):
            source = items.source(getter, item)
            element = b.open(source, size, _shown(item))
            size = element.size if isinstance(element, LazyImage) and size is None else size
            given = "it is" if source is item else f"`{_name(getter)}` gives {_shown(source)},"
            print(f"  {type(b).__name__}: {given} opened as {_shown(element)}")


def _tell_changed(items: BlockItems, tfms: list[Any], n: int) -> None:
    print("item_tfms:", *([f"  {tfm!r}" for tfm in tfms] or ["  none"]), sep="\n")
    shapes: list[Any] = []
    for i in range(n):
        with _step(f"opening and changing the item {_shown(items.items[i])}"):
            elements = items[i]
        shapes.append([getattr(e, "shape", None) for e in elements])
        is_other = shapes[-1] != shapes[0]
        if i < _MOST_ITEMS or is_other:
            told = f" ({_shown(items.items[i])} is of another shape)" if is_other else ""
            print(f"  item {i} ready: {', '.join(_shown(e) for e in elements)}{told}")
        if is_other and i >= _MOST_ITEMS:
            break


@contextmanager
def _step(doing: str) -> Generator[None]:
    """Print which step it was that failed."""
    try:
        yield
    except Exception as error:
        print(f"failed while {doing}: {type(error).__name__}: {error}")
        for note in getattr(error, "__notes__", []):  # they name the item
            print(f"  {note}")
        raise


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        shape = " x ".join(str(n) for n in value.shape) or "a number"
        return f"{type(value).__name__} {shape} of {str(value.dtype).removeprefix('torch.')}"
    text = quoted(value).strip("`") if isinstance(value, PurePath) else repr(value)
    return text if len(text) <= 100 else f"{text[:97]}…"


def _told(block: Block) -> str:
    """The block, and what it has learnt of the labels."""
    if block.vocab is None:
        return repr(block)
    classes = "1 class" if len(block.vocab) == 1 else f"{len(block.vocab)} classes"
    return f"{type(block).__name__}, {classes}: {_few(block.vocab)}"


def _few(names: Any) -> str:
    shown = ", ".join(quoted(str(name)).strip("`") for name in list(names)[:6])
    return shown + (", …" if len(names) > 6 else "")


def _name(thing: Any) -> str:
    if isinstance(thing, partial):
        made: Any = thing
        return f"{_name(made.func)}({', '.join(map(_name, made.args))})"
    name: str = getattr(thing, "__name__", None) or repr(thing)
    return name.lstrip("_")
