"""Images kept as pixels, in memory or on disk: from the second epoch on none is decoded."""

import hashlib
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import PIL
import torch
import torchvision
from torch import Tensor

from learnlite.data.reading import seed_item
from learnlite.data.urls import home
from learnlite.data.warn import warn
from learnlite.seeds import seed_torch
from learnlite.vision.blocks import Block
from learnlite.vision.cache_key import described, source_mark
from learnlite.vision.first_stage import FirstStage, apart, gathered
from learnlite.vision.items import BlockItems
from learnlite.vision.pixel_store import Kept, PixelStore

Where = Literal["memory", "disk"]

_GB = 10**9
_DISK = 8 * _GB
_MEMORY = 0.25  # of the machine's
_FREE = 0.9  # of the free space of a disk is used at most
_FORMAT = 2  # another number for pixels that are made or laid out in another way
_OLD = 30 * 24 * 3600  # seconds after which a cache that nobody has opened goes
_SUFFIX = ".pixels"


class CachedItems(BlockItems):
    """`BlockItems` whose images and masks are decoded once; the getters of others are still called.

    `slots` says where in the store each item's pixels are.
    """

    def __init__(self, base: BlockItems, store: PixelStore, slots: Sequence[int]) -> None:
        super().__init__(
            base.items,
            base.blocks,
            base.getters,
            base.item_tfms,
            training=base.training,
            n_inp=base.n_inp,
            bad=base.bad,
        )
        self.store = store
        self.slots = slots
        self.first = FirstStage(self.stage)
        self.places = kept_places(base)
        self._masks = [i for i in self.places if self.blocks[i].kind == "mask"]
        # Others' transforms take whole items, and boxes must be as many as their labels.
        self._gathers = self.first.after is None and all(
            type(block).collate is Block.collate if i in self.places else block.kind != "boxes"
            for i, block in enumerate(self.blocks)
        )
        # Our getters and transforms draw from no other generator, and to seed three takes longer.
        others = [part for i, part in enumerate(self.getters) if i not in self.places]
        others += [block.open for i, block in enumerate(self.blocks) if i not in self.places]
        self._draw_only_torch = all(_is_our_own(part) for part in (*others, *self.first.random))

    def __getitem__(self, i: int) -> tuple[Any, ...]:
        return self.read_at(i) if self.bad is None else self.bad.read(_ByIndex(self), i)

    def read_batch(
        self, indices: Sequence[int], seeds: Sequence[int], threads: int = 1
    ) -> tuple[Tensor, ...] | None:
        """The batch of these items, gathered at once; None if some are not there, or differ."""
        if not self._gathers:
            return None
        found: list[list[Kept]] = []
        for i in indices:
            kept = self._kept(i)
            if kept is None:
                return None
            found.append(kept)
        seed = seed_torch if self._draw_only_torch else seed_item
        rows: list[tuple[Any, ...]] = []
        for i, value, kept in zip(indices, seeds, found, strict=True):
            seed(value)
            item = self.items[i]
            elements = self.opened(item, dict(zip(self.places, kept, strict=True)))
            with self.changing(item):
                rows.append(self.plain(self.first.planned(elements)))
        batch: list[Tensor] = []
        for i, (block, column) in enumerate(zip(self.blocks, zip(*rows, strict=True), strict=True)):
            if i not in self.places:
                batch.append(block.collate([*column]))
            elif (pixels := gathered(column, i in self._masks, threads)) is not None:
                batch.append(pixels)
            else:
                return None
        return tuple(batch)

    def read_at(self, i: int) -> tuple[Any, ...]:
        """The elements of item `i`, which is put into the cache if it is not there."""
        item = self.items[i]
        kept = self._kept(i)
        if kept is None:
            elements = self.opened(item)
            with self.changing(item):
                kept = self.first.keep(elements, self.places)
            if kept is None:  # not of a kind that is kept, or at fault: `changed` says in what
                return self.changed(item, elements)
            for place, pixels in zip(self._slots(i), kept, strict=True):
                self.store.put(place, pixels)
            for place, pixels in zip(self.places, kept, strict=True):
                elements[place] = pixels
            return self._finished(item, kept, elements)
        elements = self._finished(item, kept)
        new = list(elements)
        for place, pixels in zip(self.places, kept, strict=True):
            new[place] = apart(new[place], pixels.pixels)  # what is given away may be changed
        return tuple(new)

    def _finished(
        self, item: Any, kept: list[Kept], elements: list[Any] | None = None
    ) -> tuple[Any, ...]:
        if elements is None:
            elements = self.opened(item, dict(zip(self.places, kept, strict=True)))
        with self.changing(item):
            return self.plain(self.first.finish(elements, self._masks))

    def _kept(self, i: int) -> list[Kept] | None:
        kept: list[Kept] = []
        for slot in self._slots(i):
            found = self.store.get(slot)
            if found is None:
                return None
            kept.append(found)
        return kept

    def _slots(self, i: int) -> range:
        n = len(self.places)
        return range(self.slots[i] * n, (self.slots[i] + 1) * n)


def _is_our_own(part: Any) -> bool:
    function = getattr(part, "__func__", part)
    module = getattr(function, "__module__", None) or type(function).__module__
    return module.partition(".")[0] == "learnlite"


class _ByIndex:
    """The set as one whose items are their indices."""

    def __init__(self, dataset: CachedItems) -> None:
        self.items: Any = range(len(dataset))
        self._dataset = dataset

    def read(self, item: int) -> Any:
        return self._dataset.read_at(item)


def with_cache(
    sets: Sequence[BlockItems], cache: Where | None, size: float | None = None
) -> list[BlockItems]:
    """The sets with a cache, of `size` GB for all together; the same ones without `cache`."""
    if cache is None:
        if size is not None:
            raise ValueError(f'`cache_size={size}` needs `cache="memory"` or `cache="disk"`')
        return list(sets)
    if cache not in ("memory", "disk"):
        raise ValueError(f'`cache` is "memory", "disk" or None, got {cache!r}')
    is_number = isinstance(size, int | float) and not isinstance(size, bool)
    if size is not None and not (is_number and 0 < size < float("inf")):
        raise ValueError(f"`cache_size` is a number of GB above 0, as 0.5, got {size!r}")
    full = [items for items in sets if len(items)]
    if not kept_places(full[0]):
        raise ValueError("`cache` keeps images and masks, and no block is of these; leave it out")
    limit = None if size is None else round(size * _GB)
    if cache == "memory":
        return _in_memory(sets, round(_MEMORY * memory()) if limit is None else limit)
    try:
        return _on_disk(sets, _DISK if limit is None else limit)
    except OSError as error:
        warn(
            f"there is no image cache, as `{folder()}` cannot be written "
            f"({error.strerror or error}); set `LEARNLITE_HOME` to a folder that can, "
            'or use `cache="memory"`'
        )
        return list(sets)


def kept_places(items: BlockItems) -> list[int]:
    """Which blocks of the set give images or masks."""
    return [i for i, block in enumerate(items.blocks) if block.kind in ("image", "mask")]


def folder() -> Path:
    """Where caches on disk are."""
    return home() / "cache" / "images"


class CacheFile(NamedTuple):
    """A cache on disk: its file, the bytes it takes, and when it was last opened."""

    path: Path
    n_bytes: int
    opened: float


def cache_files() -> list[CacheFile]:
    """The caches on this machine, the last opened one first."""
    found: list[CacheFile] = []
    with suppress(FileNotFoundError), os.scandir(folder()) as entries:
        for entry in entries:
            if _is_ours(entry.name) and entry.is_file(follow_symlinks=False):
                stat = entry.stat(follow_symlinks=False)
                found.append(CacheFile(Path(entry.path), stat.st_size, stat.st_atime))
    return sorted(found, key=lambda file: -file.opened)


def clear_cache(older: float = 0.0) -> int:
    """Remove the caches not opened for `older` seconds; gives the bytes that are free again.

    A process that uses one goes on with it, and it takes its space until then.
    """
    freed = 0
    for file in cache_files():
        if time.time() - file.opened >= older:
            with suppress(FileNotFoundError):
                file.path.unlink()
                freed += file.n_bytes
    return freed


def memory() -> int:
    """The bytes of memory that this process may use at most: of the machine, or of its container.

    >>> memory() > 10**7
    True
    """
    found = 8 * _GB
    with suppress(AttributeError, ValueError, OSError):  # Windows does not tell in this way
        found = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            found = min(found, int(Path("/sys/fs/cgroup", name).read_text()))
    return found


def _is_ours(name: str) -> bool:
    return name.endswith(_SUFFIX) or (name.startswith(".") and f"{_SUFFIX}." in name)


def _in_memory(sets: Sequence[BlockItems], limit: int) -> list[BlockItems]:
    n = sum(map(len, sets))
    return [
        CachedItems(
            items,
            PixelStore(len(items) * len(kept_places(items)), limit * len(items) // n),
            range(len(items)),
        )
        if len(items)
        else items
        for items in sets
    ]


def _on_disk(sets: Sequence[BlockItems], limit: int) -> list[BlockItems]:
    """One file for the sets whose first stages are equal: how items are split does not matter."""
    marks = [[_mark(items, item) for item in items.items] for items in sets]
    ranks = {mark: rank for rank, mark in enumerate(sorted({m for part in marks for m in part}))}
    folder().mkdir(parents=True, exist_ok=True)
    clear_cache(_OLD)
    keys = [_key(items, ranks) for items in sets]
    n = sum(map(len, sets))
    new: list[BlockItems] = []
    stores: dict[bytes, PixelStore] = {}
    for items, part, key in zip(sets, marks, keys, strict=True):
        if not len(items):
            new.append(items)
            continue
        if key not in stores:
            n_items = sum(len(of) for of, other in zip(sets, keys, strict=True) if other == key)
            path = folder() / f"{key.hex()[:32]}{_SUFFIX}"
            present = path.stat().st_size if path.exists() else 0
            room = present + int(_FREE * shutil.disk_usage(folder()).free)
            n_slots = len(ranks) * len(kept_places(items))
            stores[key] = PixelStore(n_slots, min(limit * n_items // n, room), path, key)
            os.utime(path)
        slots = np.fromiter((ranks[mark] for mark in part), np.int64, len(part))
        new.append(CachedItems(items, stores[key], slots.tolist()))
    return new


def _mark(items: BlockItems, item: Any) -> bytes:
    """What tells the pixels of an item from others, before any file is opened."""
    parts = [source_mark(items.source(items.getters[i], item)) for i in kept_places(items)]
    return hashlib.blake2b(b"\0".join(parts), digest_size=16).digest()


def _key(items: BlockItems, ranks: dict[bytes, int]) -> bytes:
    """What everything that is kept depends on."""
    blocks = [described(items.blocks[i]) for i in kept_places(items)]
    first = FirstStage(items.stage)
    tfms = [(len(first.sure) > 0, tfm.training, described(tfm)) for tfm in first.shaping]
    versions = (_FORMAT, torch.__version__, torchvision.__version__, PIL.__version__)
    key = hashlib.blake2b(repr((versions, blocks, tfms)).encode(), digest_size=32)
    for mark in ranks:  # in order
        key.update(mark)
    return key.digest()


def sizes_told(files: Sequence[CacheFile]) -> Iterator[str]:
    """Lines that list caches and what they take.

    >>> list(sizes_told([]))[0].partition(" in ")[0]
    'no image cache'
    """
    if not files:
        yield f"no image cache in {folder()}"
        return
    yield f"{len(files)} image cache{'s' if len(files) > 1 else ''} in {folder()}"
    for file in files:
        opened = time.strftime("%Y-%m-%d %H:%M", time.localtime(file.opened))
        yield f"{file.n_bytes / 1e6:12,.1f} MB  opened {opened}  {file.path.name}"
    yield f"{sum(file.n_bytes for file in files) / 1e6:12,.1f} MB in all"
