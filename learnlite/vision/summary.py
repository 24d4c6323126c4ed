"""Every step from a source to a batch, told: what it gave, or where it failed and why."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, cast

from torch import Tensor

from learnlite.data.wording import quoted
from learnlite.vision.image import LazyImage
from learnlite.vision.items import BlockItems

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
            learnt = "" if b.vocab is None else f", {len(b.vocab)} classes: {_few(b.vocab)}"
            print(f"block {i}, {'input' if i < block.n_inp else 'target'}: {b!r}{learnt}")
    _tell_item(sets.train)
    n = min(bs, len(sets.train))
    _tell_changed(sets.train, block.item_tfms, n)
    with _step("making loaders and putting items into a batch"):
        dls = block.dataloaders(source, bs=n, **settings)
        print(f"batch of {n}: {', '.join(_shown(part) for part in dls.raw_batch())}")
    tfms: Any = dls.batch_tfms[0]
    print("batch_tfms:", *[f"  {tfm!r}" for tfm in tfms.tfms], sep="\n")
    with _step("changing the batch by `batch_tfms`"):
        print(f"what the model gets: {', '.join(_shown(part) for part in dls.one_batch())}")
    if show_batch:
        dls.show_batch()


def _tell_item(items: BlockItems) -> None:
    item, size = items.items[0], None
    for b, getter in zip(items.blocks, items.getters, strict=True):
        with _step(f"opening the item {_shown(item)} by `{b!r}`"):
            source = items.source(getter, item)
            element = b.open(source, size, _shown(item))
            size = element.size if isinstance(element, LazyImage) and size is None else size
            print(f"  `{_name(getter)}` gives {_shown(source)}, opened as {_shown(element)}")


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
        raise


def _shown(value: Any) -> str:
    if isinstance(value, Tensor):
        shape = " x ".join(str(n) for n in value.shape) or "a number"
        return f"{type(value).__name__} {shape} of {str(value.dtype).removeprefix('torch.')}"
    text = quoted(value).strip("`") if isinstance(value, PurePath) else repr(value)
    return text if len(text) <= 100 else f"{text[:97]}…"


def _few(names: Any) -> str:
    shown = ", ".join(quoted(str(name)).strip("`") for name in list(names)[:6])
    return shown + (", …" if len(names) > 6 else "")


def _name(thing: Any) -> str:
    if isinstance(thing, partial):
        made: Any = thing
        return f"{_name(made.func)}({', '.join(map(_name, made.args))})"
    name: str = getattr(thing, "__name__", None) or repr(thing)
    return name.lstrip("_")
