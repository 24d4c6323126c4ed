"""Loaders of images in one call, for the usual layouts of folders and tables."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from inspect import signature
from os import PathLike
from pathlib import Path
from typing import Any, Unpack

from learnlite.data import Loader
from learnlite.data.files import as_path, get_image_files
from learnlite.data.labels import (
    ColReader,
    RegexLabeller,
    parent_label,
    using_attr,
)
from learnlite.data.shares import RandomSplitter
from learnlite.data.splits import ColSplitter, GrandparentSplitter, IndexSplitter
from learnlite.data.tables import read_csv
from learnlite.data.wording import quoted
from learnlite.vision.blocks import CategoryBlock, ImageBlock, MaskBlock
from learnlite.vision.datablock import DataBlock
from learnlite.vision.foreign import Samples
from learnlite.vision.given_files import check_layout, check_names_of, files_of
from learnlite.vision.image import PILImage
from learnlite.vision.label_kinds import block_of, block_of_columns
from learnlite.vision.loaders import BlockLoaders
from learnlite.vision.settings import LoaderSettings, refuse_unknown, telling

_telling = telling(DataBlock.dataloaders, Loader)


class ImageDataLoaders:
    """Loaders of images and labels by the layout of files and tables; all give `BlockLoaders`.

    All take `item_tfms`, `batch_tfms` and the arguments of `DataBlock.dataloaders`, as `bs`,
    `device`, `num_workers`, `balanced` or `subset=0.1`. The seed of a random split is `seed`.
    """

    def __init__(self, *_: Any) -> None:
        raise TypeError(
            "loaders are made by `ImageDataLoaders.from_folder`, `.from_name_func` and the like"
        )

    @classmethod
    @_telling
    def from_folder(
        cls,
        path: str | Path,
        train: str = "train",
        valid: str = "valid",
        valid_pct: float | None = None,
        seed: int | None = None,
        vocab: Sequence[Any] | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: Any = PILImage,
        *,
        followlinks: bool = True,
        **settings: Unpack[LoaderSettings],
    ) -> BlockLoaders:
        """Folders named by class, in folders `train` and `valid`, or split by `valid_pct`.

        Folders that are links are looked into, unless `followlinks=False`.
        """
        _check_settings(cls.from_folder, settings)
        top = as_path(path)
        if valid_pct is None:
            check_layout(top, {"train": train, "valid": valid})
        split = (
            GrandparentSplitter(train, valid)
            if valid_pct is None
            else RandomSplitter(valid_pct, seed)
        )
        block = DataBlock(
            (ImageBlock(img_cls), CategoryBlock(vocab)),
            get_items=partial(
                get_image_files,
                folders=[train, valid] if valid_pct is None else None,
                followlinks=followlinks,
            ),
            get_y=parent_label,
            splitter=split,
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return block.dataloaders(top, path=top, seed=seed, **settings)

    @classmethod
    @_telling
    def from_path_func(
        cls,
        path: str | Path,
        fnames: Iterable[Any],
        label_func: Callable[[Any], Any],
        valid_pct: float = 0.2,
        seed: int | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: Any = PILImage,
        **settings: Unpack[LoaderSettings],
    ) -> BlockLoaders:
        """Files labelled by a function of the path."""
        _check_settings(cls.from_path_func, settings)
        block = DataBlock(
            (ImageBlock(img_cls), CategoryBlock),
            get_y=label_func,
            splitter=RandomSplitter(valid_pct, seed),
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return block.dataloaders(files_of(fnames), path=path, seed=seed, **settings)

    @classmethod
    @_telling
    def from_name_func(
        cls,
        path: str | Path,
        fnames: Iterable[Any],
        label_func: Callable[[str], Any],
        valid_pct: float = 0.2,
        seed: int | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: Any = PILImage,
        **settings: Unpack[LoaderSettings],
    ) -> BlockLoaders:
        """Files labelled by a function of the file's name."""
        label = using_attr(label_func, "name")
        return cls.from_path_func(
            path, fnames, label, valid_pct, seed, item_tfms, batch_tfms, img_cls, **settings
        )

    @classmethod
    @_telling
    def from_path_re(
        cls,
        path: str | Path,
        fnames: Iterable[Any],
        pat: str,
        valid_pct: float = 0.2,
        seed: int | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: Any = PILImage,
        **settings: Unpack[LoaderSettings],
    ) -> BlockLoaders:
        """Files labelled by the first group of a regular expression on the path."""
        label = RegexLabeller(pat)
        return cls.from_path_func(
            path, fnames, label, valid_pct, seed, item_tfms, batch_tfms, img_cls, **settings
        )

    @classmethod
    @_telling
    def from_name_re(
        cls,
        path: str | Path,
        fnames: Iterable[Any],
        pat: str,
        valid_pct: float = 0.2,
        seed: int | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: Any = PILImage,
        **settings: Unpack[LoaderSettings],
    ) -> BlockLoaders:
        """Files labelled by the first group of a regular expression on the file's name."""
        label = RegexLabeller(pat)
        return cls.from_name_func(
            path, fnames, label, valid_pct, seed, item_tfms, batch_tfms, img_cls, **settings
        )

    @classmethod
    @_telling
    def from_df(
        cls,
        df: Any,
        path: str | Path = ".",
        valid_pct: float = 0.2,
        seed: int | None = None,
        fn_col: int | str = 0,
        folder: str | Path | None = None,
        suff: str = "",
        label_col: int | str | Sequence[int | str] = 1,
        label_delim: str | None = None,
        y_block: Any = None,
        valid_col: int | str | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: Any = PILImage,
        **settings: Unpack[LoaderSettings],
    ) -> BlockLoaders:
        """Files and labels in columns of a table: a DataFrame, or rows as `read_csv` gives them.

        `label_delim` splits several labels. Without `y_block` the labels say what they are: numbers
        with a decimal point are to be predicted, all else names classes.
        """
        _check_settings(cls.from_df, settings)
        if isinstance(df, str | PathLike):
            raise TypeError(
                f"`from_df` takes a table, got the path {quoted(df)}; for a CSV file use "
                "`from_csv(folder, name)`"
            )
        base = as_path(path) / folder if folder is not None else as_path(path)
        rows = DataBlock().items(df)
        check_names_of(rows, fn_col, base)
        block = DataBlock(
            (ImageBlock(img_cls), y_block or block_of_columns(rows, label_col, label_delim)),
            get_x=ColReader(fn_col, pref=f"{base}/", suff=suff),
            get_y=ColReader(label_col, label_delim=label_delim),
            splitter=RandomSplitter(valid_pct, seed)
            if valid_col is None
            else ColSplitter(valid_col),
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return block.dataloaders(rows, path=path, seed=seed, **settings)

    @classmethod
    @_telling
    def from_csv(
        cls,
        path: str | Path,
        csv_fname: str = "labels.csv",
        header: int | str | None = "infer",
        delimiter: str | None = None,
        encoding: str = "utf-8-sig",
        valid_pct: float = 0.2,
        seed: int | None = None,
        fn_col: int | str = 0,
        folder: str | Path | None = None,
        suff: str = "",
        label_col: int | str | Sequence[int | str] = 1,
        label_delim: str | None = None,
        y_block: Any = None,
        valid_col: int | str | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: Any = PILImage,
        **settings: Unpack[LoaderSettings],
    ) -> BlockLoaders:
        """As `from_df`, with the table in a CSV file below `path`."""
        if (given := as_path(path)).is_file():
            raise NotADirectoryError(
                f"`path` is the folder of the CSV file, got {quoted(given)}; give "
                f"`from_csv({str(given.parent)!r}, {given.name!r})`"
            )
        file, has_names = given / csv_fname, header is not None
        rows = read_csv(file, delimiter or ",", header=has_names, encoding=encoding)
        of_rows: Any = partial(cls.from_df, rows, path, valid_pct, seed, fn_col, folder, suff)
        return of_rows(
            label_col=label_col,
            label_delim=label_delim,
            y_block=y_block,
            valid_col=valid_col,
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
            img_cls=img_cls,
            **settings,
        )

    @classmethod
    @_telling
    def from_lists(
        cls,
        path: str | Path,
        fnames: Sequence[Any],
        labels: Sequence[Any],
        valid_pct: float = 0.2,
        seed: int | None = None,
        y_block: Any = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: Any = PILImage,
        **settings: Unpack[LoaderSettings],
    ) -> BlockLoaders:
        """Files and their labels as two lists."""
        _check_settings(cls.from_lists, settings)
        fnames = files_of(fnames)
        if len(fnames) != len(labels):
            raise ValueError(f"there are {len(fnames)} files but {len(labels)} labels")
        block = DataBlock(
            (ImageBlock(img_cls), y_block or block_of(list(labels))),
            get_x=_first,
            get_y=_second,
            splitter=RandomSplitter(valid_pct, seed),
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        pairs = list(zip(fnames, labels, strict=True))
        return block.dataloaders(pairs, path=path, seed=seed, **settings)

    @classmethod
    @_telling
    def from_dataset(
        cls,
        train: Any,
        valid: Any = None,
        valid_pct: float = 0.2,
        seed: int | None = None,
        x: Any = None,
        y: Any = None,
        vocab: Sequence[Any] | None = None,
        y_block: Any = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: Any = PILImage,
        path: str | Path = ".",
        **settings: Unpack[LoaderSettings],
    ) -> BlockLoaders:
        """A dataset of torchvision, of Hugging Face, or any with `__len__` and `__getitem__`.

        Its samples are (image, label) or dicts; `x` and `y` say which elements, if that is not
        clear. The names of the classes are the dataset's own, unless `vocab` gives others; those of
        `valid` are found by their names, whatever their numbers. Without it a share validates.
        Labels that a dataset does not list are read from all samples once. A `cache` keeps images
        as the dataset's own transforms give them.

        >>> import numpy as np
        >>> pictures = [(np.full((8, 8, 3), i, np.uint8), i % 2) for i in range(10)]
        >>> dls = ImageDataLoaders.from_dataset(pictures, pictures, vocab=["even", "odd"], bs=4)
        >>> dls.one_batch()[0].shape, dls.vocab
        (torch.Size([4, 3, 8, 8]), ['even', 'odd'])
        """
        _check_settings(cls.from_dataset, settings)
        first = Samples(train, x, y, vocab)
        items: list[Any] = list(first)
        if valid is None:
            splitter: Any = RandomSplitter(valid_pct, seed)
        else:
            items += first.like(valid)
            splitter = IndexSplitter(range(len(first), len(items)))
        block = DataBlock(
            (ImageBlock(img_cls), y_block or CategoryBlock(first.names, sort=first.names is None)),
            get_x=first.image,
            get_y=first.label,
            splitter=splitter,
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return block.dataloaders(items, path=path, seed=seed, **settings)


class SegmentationDataLoaders:
    """Loaders of images with masks."""

    @classmethod
    @_telling
    def from_label_func(
        cls,
        path: str | Path,
        fnames: Iterable[Any],
        label_func: Callable[[Any], Any],
        valid_pct: float = 0.2,
        seed: int | None = None,
        codes: Sequence[Any] | None = None,
        item_tfms: Any = None,
        batch_tfms: Any = None,
        img_cls: Any = PILImage,
        **settings: Unpack[LoaderSettings],
    ) -> BlockLoaders:
        """Files whose mask is found by a function of the path; `codes` names the classes."""
        _check_settings(cls.from_label_func, settings)
        block = DataBlock(
            (ImageBlock(img_cls), MaskBlock(codes)),
            get_y=label_func,
            splitter=RandomSplitter(valid_pct, seed),
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return block.dataloaders(files_of(fnames), path=path, seed=seed, **settings)


def _first(pair: tuple[Any, Any]) -> Any:
    return pair[0]


def _second(pair: tuple[Any, Any]) -> Any:
    return pair[1]


def _check_settings(maker: Any, given: Iterable[str]) -> None:
    refuse_unknown(maker.__name__, given, signature(maker).parameters)
