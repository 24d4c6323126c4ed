"""Loaders of images: they know how to show and to decode what they give."""

from inspect import signature
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from learnlite.data import DataLoaders, Loader
from learnlite.data.batch import move
from learnlite.data.single import row_of
from learnlite.seeds import kept_rng, mix, seed_torch
from learnlite.types import LossFunc
from learnlite.vision.batch_tfms import BatchTfms
from learnlite.vision.blocks import Block
from learnlite.vision.items import BlockItems
from learnlite.vision.loader import BlockLoader
from learnlite.vision.settings import refuse_near
from learnlite.vision.show import n_shown, show_items, show_predictions


class BlockLoaders(DataLoaders):
    """`DataLoaders` whose datasets are made of blocks: batches can be shown and decoded."""

    def __init__(self, *loaders: Any, **settings: Any) -> None:
        super().__init__(*loaders, **settings)
        for loader in self.loaders:
            if isinstance(loader, BlockLoader):
                loader.owner = self

    @property
    def blocks(self) -> tuple[Block, ...]:
        """What each element of a batch is."""
        return cast(BlockItems, self.train.dataset).blocks

    @property
    def target_losses(self) -> tuple[LossFunc | None, ...]:
        """The loss that each target by itself calls for."""
        items = cast(BlockItems, self.train.dataset)
        return tuple(block.loss_func for block in items.blocks[items.n_inp :])

    @property
    def train_ds(self) -> BlockItems:
        """The items to train on."""
        return cast(BlockItems, self.train.dataset)

    @property
    def valid_ds(self) -> BlockItems | None:
        """The items to validate on."""
        return None if self.valid is None else cast(BlockItems, self.valid.dataset)

    def decode_batch(self, batch: Any, max_n: int = 9) -> list[tuple[Any, ...]]:
        """The items of a batch that the model gets, as people read them: images 0 to 1, labels.

        A batch as loaders give it, before the batch transforms, is read as well; or the inputs.
        """
        parts = [batch] if isinstance(batch, Tensor) else batch
        columns = [part.detach().cpu() for part in parts]
        is_raw = "image" in self.kinds and self.is_raw(columns)
        tfms = [] if is_raw else [tfm for tfm in self.batch_tfms if isinstance(tfm, BatchTfms)]
        for tfm in reversed(tfms):
            columns = list(tfm.decode(tuple(columns), self.kinds[: len(columns)]))
        n = min(max_n, len(columns[0]))
        blocks = self.blocks[: len(columns)]
        return [
            tuple(block.decode(part[i]) for block, part in zip(blocks, columns, strict=True))
            for i in range(n)
        ]

    def show_batch(
        self,
        batch: Any = None,
        max_n: int | None = None,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
        unique: bool = False,
        *,
        dl: int = 0,
        **settings: Any,
    ) -> Any:
        """Draw the items of a batch, nine or as many as `nrows` x `ncols`; gives the axes.

        If none is given, it is one of loader `dl`, another with each call; with `unique` one item
        of it, each time with another augmentation. `settings` are matplotlib's for the masks, or
        without masks for the images.
        """
        n = n_shown(max_n, nrows, ncols)
        if isinstance(batch, int):
            raise TypeError(
                f"`show_batch` takes a batch first, got {batch}; for so many pictures give "
                f"`max_n={batch}`"
            )
        refuse_near("show_batch", settings, signature(BlockLoaders.show_batch).parameters)
        if batch is None:
            loader = self.loaders[dl]
            often = n if unique else None
            looks = isinstance(loader, BlockLoader) and loader.owner is self
            batch = loader.next_look(often) if looks else self.batch_from(loader, often)
        items = self.decode_batch(batch, n)
        grid: dict[str, Any] = {"nrows": nrows, "ncols": ncols, "figsize": figsize}
        return show_items(items, self.kinds, codes=self._codes, **grid, **settings)

    def decode_preds(self, decoded: Any, inputs: Any = None) -> list[Any]:
        """What is predicted for each item, as people read it; points in the pixels of `inputs`."""
        n_inp = cast(BlockItems, self.train.dataset).n_inp
        blocks, kinds = self.blocks[n_inp:], set(self.kinds[n_inp:])
        parts = decoded if isinstance(decoded, tuple) else (decoded,)
        if len(parts) != len(blocks) or not all(isinstance(part, Tensor) for part in parts):
            return super().decode_preds(decoded, inputs)
        targets = [block.as_target(part) for block, part in zip(blocks, parts, strict=True)]
        if inputs is not None and kinds & {"points", "image"}:
            xs = inputs if isinstance(inputs, tuple) else (inputs,)
            items = self.decode_batch((*xs, *targets), len(targets[0]))
            rows = [item[n_inp:] for item in items]
        else:
            columns = [
                [block.decode(one) for one in part]
                for block, part in zip(blocks, targets, strict=True)
            ]
            rows = list(zip(*columns, strict=True))
        return [row[0] if len(blocks) == 1 else row for row in rows]

    def show_results(
        self,
        batch: Any,
        decoded: Any,
        max_n: int = 9,
        nrows: int | None = None,
        ncols: int | None = None,
        figsize: tuple[float, float] | None = None,
    ) -> Any:
        """Draw the items of a batch with what they are and, below or beside it, what is predicted.

        `decoded` is what `get_preds(with_decoded=True)` gives for the batch. A title is green where
        both agree.
        """
        if self.is_raw(batch):
            batch = self.transformed(move(batch, self.device), training=False)
        n_inp = cast(BlockItems, self.train.dataset).n_inp
        items = self.decode_batch(batch, max_n)
        rows = [row_of(decoded, i) for i in range(len(items))]
        stacked = (
            tuple(torch.stack(part) for part in zip(*rows, strict=True))
            if isinstance(decoded, tuple)
            else torch.stack(rows)
        )
        inputs = tuple(part[: len(items)].cpu() for part in batch[:n_inp])
        preds = self.decode_preds(stacked, inputs)
        return show_predictions(
            items,
            [pred if isinstance(decoded, tuple) else (pred,) for pred in preds],
            self.kinds,
            nrows=nrows,
            ncols=ncols,
            figsize=figsize,
            codes=self._codes,
        )

    @property
    def _codes(self) -> Any:
        """The names of the classes of masks, if they have any."""
        return next((block.vocab for block in self.blocks if block.kind == "mask"), None)

    def batch_from(self, loader: Loader, often: int | None = None, look: int = 0) -> Any:
        """The first batch of a loader as the model gets it, or its first item `often` times.

        With `look` it is that of an epoch so much later. Loaders and random states do not notice.
        """
        dataset = cast(BlockItems, loader.dataset)
        training = loader is self.train or getattr(dataset, "training", False)
        with kept_rng(self.device):
            job = loader.first_job(look) if isinstance(loader, BlockLoader) else None
            if look and job is not None:
                seed_torch(mix(job[0], look), self.device)
            if often is not None:
                first = 0 if job is None else job[1][0]
                raw = dataset.collate([dataset[first] for _ in range(often)])
            elif isinstance(loader, BlockLoader) and look and job is not None:
                raw = loader.batch_of_job(job)
            else:
                raw = loader.raw_batch()
            return self.transformed(move(raw, self.device), training=training)

    def test_dl(self, items: Any, with_labels: bool = False, **settings: Any) -> Loader:
        """A loader of other items in the way of validation; `with_labels` gives targets too."""
        if isinstance(items, str | bytes | Path):
            raise TypeError(f"`test_dl` takes a list of items, got one: `test_dl([{items!r}])`")
        pattern = self.valid if self.valid is not None else self.train
        dataset = cast(BlockItems, pattern.dataset).test_set(items, with_labels)
        return pattern.like(dataset, collate=dataset.collate, **settings)
