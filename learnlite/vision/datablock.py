"""`DataBlock`: how to get from a folder, a table or a list to loaders of batches."""

import copy
import os
from collections.abc import Callable, Sequence, Sized
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple, Never, Unpack

import torch

from learnlite.data import Loader, default_device
from learnlite.data.batch import as_device
from learnlite.data.loader import whole_number
from learnlite.data.sampling import sampling_order
from learnlite.data.shares import RandomSplitter
from learnlite.data.splits import Splitter, check_splitter, checked_split
from learnlite.data.strata import subset as subset_of
from learnlite.data.tables import by_position, is_pandas, rows_of
from learnlite.data.vocab import Vocab
from learnlite.seeds import as_seed, mix
from learnlite.types import listify
from learnlite.vision.bad_images import BadImages, SkippingLoader
from learnlite.vision.batch_tfms import BatchTfms, IntToFloatTensor
from learnlite.vision.block_checks import (
    check_dl_type,
    check_function,
    check_kept,
    check_read,
    check_weights,
)
from learnlite.vision.blocks import Block, MaskBlock, PointBlock, TransformBlock, box_labels
from learnlite.vision.cache import with_cache
from learnlite.vision.item_stage import ItemStage
from learnlite.vision.item_tfms import ItemTransform
from learnlite.vision.items import BlockItems, Getter
from learnlite.vision.loader import BlockLoader
from learnlite.vision.loaders import BlockLoaders
from learnlite.vision.mask_check import check_masks
from learnlite.vision.points import BlankBoxes, ScalePoints
from learnlite.vision.settings import ReadingSettings, refuse_unknown, telling


class Datasets(NamedTuple):
    """The two sets of items of a `DataBlock`."""

    train: BlockItems
    valid: BlockItems

    @property
    def vocab(self) -> Vocab | None:
        """The names of the classes."""
        return self.train.vocab


class DataBlock:
    """How items become batches: what an item is, how it is labelled, split, opened and changed.

    - `blocks`: what each element of an item is, the inputs first: `(ImageBlock, CategoryBlock)`.
    - `get_items`: the items of a source (`get_image_files`); without, the source is the items.
    - `get_x`, `get_y`: from an item to the sources of its inputs and targets; lists for several.
      `getters` names them all at once.
    - `splitter`: which items validate; a fifth at random, if not given.
    - `item_tfms`, `batch_tfms`: what changes each item on the CPU, and each batch on the device.
    - `n_inp`: how many blocks are inputs; all but the last, if not given.

    >>> import numpy as np
    >>> from learnlite.vision.all import CategoryBlock, ImageBlock, RandomSplitter
    >>> pictures = [np.full((8, 8, 3), i, np.uint8) for i in range(20)]
    >>> def shade(picture):
    ...     return "dark" if picture.max() < 10 else "light"
    >>> splitter = RandomSplitter(0.2, seed=42)
    >>> block = DataBlock((ImageBlock, CategoryBlock), get_y=shade, splitter=splitter)
    >>> dls = block.dataloaders(pictures, bs=4, device="cpu")
    >>> xb, yb = dls.one_batch()
    >>> xb.shape, dls.vocab
    (torch.Size([4, 3, 8, 8]), ['dark', 'light'])
    """

    def __init__(
        self,
        blocks: Any = None,
        dl_type: Any = None,
        getters: Sequence[Getter] | None = None,
        n_inp: int | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        *,
        get_items: Callable[[Any], Any] | None = None,
        splitter: Splitter | None = None,
        get_x: Any = None,
        get_y: Any = None,
        **unknown: Never,
    ) -> None:
        refuse_unknown("DataBlock", unknown, _arguments(DataBlock))
        check_dl_type(dl_type)
        self.blocks = [_block(b) for b in listify(blocks)] or [TransformBlock(), TransformBlock()]
        self.n_inp = max(len(self.blocks) - 1, 1) if n_inp is None else n_inp
        if not 1 <= self.n_inp <= len(self.blocks):
            raise ValueError(
                f"`n_inp` says how many of the {len(self.blocks)} blocks are inputs, got {n_inp}"
            )
        if get_items is not None:
            check_function("get_items", get_items)
        if splitter is not None:
            check_splitter(splitter)
        self.get_items = get_items
        self.splitter = splitter
        self.get_x = get_x
        self.get_y = get_y
        self.getters = self._getters(getters)
        self.item_tfms = listify(item_tfms)
        self.batch_tfms = listify(batch_tfms)
        _check_places(self.item_tfms, self.batch_tfms)

    def new(self, item_tfms: Any = None, batch_tfms: Any = None) -> "DataBlock":
        """The same with these transforms instead of its own; as in fastai none are taken over."""
        return DataBlock(
            self.blocks,
            None,
            self.getters,
            self.n_inp,
            item_tfms,
            batch_tfms,
            get_items=self.get_items,
            splitter=self.splitter,
        )

    def items(self, source: Any) -> Any:
        """The items of a source: rows of a table, elements of a list."""
        return by_position(self._found(source))

    def _found(self, source: Any) -> Any:
        """The items, a table as it is."""
        if self.get_items is not None:
            source = self.get_items(source)
        elif isinstance(source, str | Path):
            raise TypeError(
                f"the source is the path {source}, and nothing says what lies there; pass "
                "`get_items=get_image_files` to `DataBlock`"
            )
        if not isinstance(source, dict) and not is_pandas(source, "DataFrame"):
            source = by_position(source)
        if not isinstance(source, Sized) or not hasattr(source, "__getitem__"):
            raise TypeError(
                "the items are a list, a table, or anything with a length and indices, got a "
                f"`{type(source).__name__}`; look at "
                f"{'the source' if self.get_items is None else 'what `get_items` gives'}"
            )
        if not len(source):
            raise ValueError(
                "there are no items; look at what `get_items` finds in the source"
                if self.get_items is not None
                else "there are no items: the source is empty"
            )
        return source

    def split(self, source: Any) -> tuple[list[int], list[int]]:
        """Which of the items are trained on, and which ones validate."""
        return self._split(self._found(source))

    def _split(self, found: Any) -> tuple[list[int], list[int]]:
        # A splitter of the user's may want the columns of a DataFrame, and its index.
        items = rows_of(found) if isinstance(found, dict) else found
        return checked_split(self.splitter or RandomSplitter(), items)

    def datasets(self, source: Any, *, subset: float | int | None = None) -> Datasets:
        """The training and the validation set; blocks learn their classes from the first."""
        found = self._found(source)
        items = by_position(found)
        train, valid = self._split(found)
        if subset is not None:
            train = self._subset(items, train, subset)
        sets = [[items[i] for i in part] for part in (train, valid)]
        blocks = copy.deepcopy(self.blocks)  # they learn classes, and other data may have others
        reader = BlockItems([], blocks, self.getters, (), training=False, n_inp=self.n_inp)
        for block, getter in zip(blocks, self.getters, strict=True):
            if type(block).setup is not Block.setup:
                if getter is _itself:
                    bare = [b for b, g in zip(blocks, self.getters, strict=True) if g is _itself]
                    check_read(block, items[0], bare)
                sources = [[reader.source(getter, item) for item in part] for part in sets]
                block.setup(sources[0], sources[1], sets[0], sets[1])
        return Datasets(
            *(
                BlockItems(
                    part,
                    blocks,
                    self.getters,
                    self.item_tfms,
                    training=training,
                    n_inp=self.n_inp,
                )
                for part, training in zip(sets, (True, False), strict=True)
            )
        )

    @telling(Loader)
    def dataloaders(
        self,
        source: Any,
        path: str | Path = ".",
        *,
        bs: int = 64,
        val_bs: int | None = None,
        shuffle: bool = True,
        drop_last: bool | None = None,
        seed: int | None = None,
        device: str | int | torch.device | None = None,
        num_workers: int | None = None,
        weights: Any = None,
        balanced: bool = False,
        subset: float | int | None = None,
        on_bad_image: Literal["raise", "skip"] = "raise",
        cache: Literal["memory", "disk"] | None = None,
        cache_size: float | None = None,
        **loader_settings: Unpack[ReadingSettings],
    ) -> BlockLoaders:
        """Loaders of both sets, with the batch transforms.

        `balanced` draws from every class as often, `weights` (one for each training item, or a dict
        of classes) as told; `subset` trains on a part only, of each class. A last training batch of
        one item is left out unless `drop_last` says otherwise, as BatchNorm cannot train on it.
        With `on_bad_image="skip"` the next image takes the place of one that does not open, with a
        warning that names it; more than a tenth of them raise.
        `cache` keeps what is the same in every epoch as pixels, in at most `cache_size` GB.
        `loader_settings` are further arguments of `Loader`.
        """
        if on_bad_image not in ("raise", "skip"):
            raise ValueError(f'`on_bad_image` is "raise" or "skip", got {on_bad_image!r}')
        refuse_unknown("dataloaders", loader_settings, _arguments(DataBlock.dataloaders))
        if not isinstance(path, str | PathLike):
            raise TypeError(
                f"`path` is the folder of the data, got {path!r}; write `bs=...` for the batch size"
            )
        seed = as_seed(seed)
        bs = whole_number("bs", bs, least=1)
        val_bs = bs if val_bs is None else whole_number("val_bs", val_bs, least=1)
        train, valid = with_cache(self.datasets(source, subset=subset), cache, cache_size)
        make = BlockLoader
        if on_bad_image == "skip":
            make = SkippingLoader
            train.bad, valid.bad = BadImages(len(train)), BadImages(len(valid))
        where = default_device() if device is None else as_device(device)
        if num_workers is None:
            num_workers = 0 if where.type == "cpu" else min(8, os.cpu_count() or 1)
        if drop_last is None:
            drop_last = len(train) > bs and len(train) % bs == 1
        order = None
        if weights is not None or balanced:
            check_weights(weights, balanced, train.blocks[-1], train.vocab)
            order = sampling_order(self._labels(train), weights=weights, balanced=balanced)
        common: dict[str, Any] = {"num_workers": num_workers, **loader_settings}
        loaders = [
            make(
                train,
                bs,
                shuffle=shuffle and order is None,
                order=order,
                drop_last=drop_last,
                seed=mix(seed, 0),
                collate=train.collate,
                **common,
            )
        ]
        if len(valid):
            loaders.append(make(valid, val_bs, seed=mix(seed, 1), collate=valid.collate, **common))
        dls = BlockLoaders(*loaders, n_inp=self.n_inp, device=where, path=path, vocab=train.vocab)
        targets = train.blocks[self.n_inp :]
        if targets:
            dls.c = targets[-1].c
            dls.loss_func = targets[-1].loss_func if len(targets) == 1 else None
        dls.kinds = tuple(block.kind for block in self.blocks)
        dls.batch_tfms = [self._batch_tfms(dls)]
        return dls

    def _batch_tfms(self, dls: BlockLoaders) -> BatchTfms:
        own = [tfm for block in self.blocks for tfm in block.batch_tfms]
        last: list[Any] = []
        if "boxes" in dls.kinds:
            last.append(BlankBoxes(box_labels(self.blocks)))
        if any(isinstance(block, PointBlock) for block in self.blocks):
            last.append(ScalePoints())
        images = [IntToFloatTensor()] if {"image", "mask"} & set(dls.kinds) else []
        tfms = BatchTfms([*own, *self.batch_tfms, *images, *last])
        raw = dls.raw_batch()
        tfms.setup(raw, dls.kinds)
        if any(isinstance(block, MaskBlock) and block.codes for block in self.blocks):
            check_masks(dls.train_ds, raw, tfms(raw, dls.kinds, False))
        return tfms

    def _subset(self, items: Any, train: list[int], share: float | int) -> list[int]:
        """A part of the items to train on."""
        labels = [self.getters[-1](items[i]) for i in train]
        try:
            chosen = subset_of(train, share, labels=labels, seed=0)
        except (TypeError, ValueError) as error:
            raise type(error)(f"`subset={share!r}`: {error}") from None
        check_kept(self.blocks[-1], labels, chosen, share)
        return [train[i] for i in chosen]

    def _labels(self, train: BlockItems) -> list[Any]:
        getter = self.getters[-1]
        return [train.source(getter, item) for item in train.items]

    def _getters(self, getters: Sequence[Getter] | None) -> list[Getter]:
        n = len(self.blocks)
        found: list[Getter] = [_itself] * n if getters is None else list(getters)
        if len(found) != n:
            raise ValueError(f"there are {n} blocks but {len(found)} `getters`; give one for each")
        for name, given, places in (
            ("get_x", self.get_x, range(self.n_inp)),
            ("get_y", self.get_y, range(self.n_inp, n)),
        ):
            functions = listify(given)
            if functions and len(functions) != len(places):
                raise ValueError(
                    f"`{name}` has {len(functions)} functions for {len(places)} blocks; give one "
                    f"for each, or say by `n_inp` how many of the {n} blocks are inputs"
                )
            for place, function in zip(places, functions, strict=False):
                check_function(name, function)
                found[place] = function
        return found

    def summary(self, source: Any, bs: int = 4, show_batch: bool = False, **settings: Any) -> None:
        """Print every step from the source to a batch; a step that fails is named."""
        from learnlite.vision.summary import print_summary

        print_summary(self, source, bs, show_batch, settings)

    def __repr__(self) -> str:
        return f"DataBlock({self.blocks}, n_inp={self.n_inp})"


def _itself(item: Any) -> Any:
    return item


def _block(block: Any) -> Block:
    made = block() if callable(block) and not isinstance(block, Block) else block
    if not isinstance(made, Block):
        raise TypeError(f"a block is a `Block` or makes one, got {block!r}")
    return made


def _check_places(item_tfms: Sequence[Any], batch_tfms: Sequence[Any]) -> None:
    """Transforms of items are not called as those of batches are."""
    for tfm in item_tfms:
        if not isinstance(tfm, type) and "kinds" in _arguments(tfm):
            raise TypeError(f"`{_kind(tfm)}` changes batches; give it as one of `batch_tfms`")
    for tfm in batch_tfms:
        if isinstance(tfm, ItemTransform) or type(tfm).__module__.startswith("torchvision."):
            raise TypeError(f"`{_kind(tfm)}` changes single items; give it as one of `item_tfms`")
    ItemStage(item_tfms)  # both say what is no transform
    BatchTfms(batch_tfms)


def _arguments(function: Any) -> list[str]:
    try:
        return list(signature(function).parameters)
    except (TypeError, ValueError):  # no function, or one of C that does not tell
        return []


def _kind(thing: Any) -> str:
    return type(thing).__name__
