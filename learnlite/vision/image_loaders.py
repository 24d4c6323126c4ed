"""Loaders of images in one call, for the usual layouts of folders and tables."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from learnlite.data.files import get_image_files
from learnlite.data.labels import (
    ColReader,
    RegexLabeller,
    is_missing,
    parent_label,
    using_attr,
)
from learnlite.data.shares import RandomSplitter
from learnlite.data.splits import ColSplitter, GrandparentSplitter, IndexSplitter
from learnlite.data.tables import check_names, column, read_csv
from learnlite.data.wording import quoted, short
from learnlite.vision.blocks import (
    Block,
    CategoryBlock,
    ImageBlock,
    MaskBlock,
    MultiCategoryBlock,
    RegressionBlock,
)
from learnlite.vision.datablock import DataBlock
from learnlite.vision.foreign import Samples
from learnlite.vision.image import PILImage
from learnlite.vision.loaders import BlockLoaders


class ImageDataLoaders:
    """Loaders of images and labels by the layout of files and tables; all give `BlockLoaders`.

    All take `item_tfms`, `batch_tfms` and the arguments of `DataBlock.dataloaders`, as `bs`,
    `device`, `num_workers`, `balanced` or `subset=0.1`. The seed of a random split is `seed`.
    """

    @classmethod
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
        **settings: Any,
    ) -> BlockLoaders:
        """Folders named by class, in folders `train` and `valid`, or split by `valid_pct`."""
        split = (
            GrandparentSplitter(train, valid)
            if valid_pct is None
            else RandomSplitter(valid_pct, seed)
        )
        block = DataBlock(
            (ImageBlock(img_cls), CategoryBlock(vocab)),
            get_items=partial(get_image_files, folders=None if valid_pct else [train, valid]),
            get_y=parent_label,
            splitter=split,
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return block.dataloaders(Path(path), path=path, seed=seed, **settings)

    @classmethod
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
        **settings: Any,
    ) -> BlockLoaders:
        """Files labelled by a function of the path."""
        block = DataBlock(
            (ImageBlock(img_cls), CategoryBlock),
            get_y=label_func,
            splitter=RandomSplitter(valid_pct, seed),
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return block.dataloaders(list(fnames), path=path, seed=seed, **settings)

    @classmethod
    def from_name_func(
        cls,
        path: str | Path,
        fnames: Iterable[Any],
        label_func: Callable[[str], Any],
        **settings: Any,
    ) -> BlockLoaders:
        """Files labelled by a function of the file's name."""
        return cls.from_path_func(path, fnames, using_attr(label_func, "name"), **settings)

    @classmethod
    def from_path_re(
        cls, path: str | Path, fnames: Iterable[Any], pat: str, **settings: Any
    ) -> BlockLoaders:
        """Files labelled by the first group of a regular expression on the path."""
        return cls.from_path_func(path, fnames, RegexLabeller(pat), **settings)

    @classmethod
    def from_name_re(
        cls, path: str | Path, fnames: Iterable[Any], pat: str, **settings: Any
    ) -> BlockLoaders:
        """Files labelled by the first group of a regular expression on the file's name."""
        return cls.from_name_func(path, fnames, RegexLabeller(pat), **settings)

    @classmethod
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
        **settings: Any,
    ) -> BlockLoaders:
        """Files and labels in columns of a table: a DataFrame, or rows as `read_csv` gives them.

        `label_delim` splits several labels. Without `y_block` the labels say what they are: numbers
        with a decimal point are to be predicted, all else names classes.
        """
        base = Path(path) / folder if folder is not None else Path(path)
        rows = DataBlock().items(df)
        _check_files(rows, fn_col, base)
        block = DataBlock(
            (ImageBlock(img_cls), y_block or _label_block(rows, label_col, label_delim)),
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
    def from_csv(
        cls,
        path: str | Path,
        csv_fname: str = "labels.csv",
        header: int | str | None = "infer",
        delimiter: str | None = None,
        encoding: str = "utf-8-sig",
        **settings: Any,
    ) -> BlockLoaders:
        """As `from_df`, with the table in a CSV file below `path`."""
        file, has_names = Path(path) / csv_fname, header is not None
        rows = read_csv(file, delimiter or ",", header=has_names, encoding=encoding)
        return cls.from_df(rows, path, **settings)

    @classmethod
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
        **settings: Any,
    ) -> BlockLoaders:
        """Files and their labels as two lists."""
        if len(fnames) != len(labels):
            raise ValueError(f"there are {len(fnames)} files but {len(labels)} labels")
        block = DataBlock(
            (ImageBlock(img_cls), y_block or _block_of(list(labels))),
            get_x=_first,
            get_y=_second,
            splitter=RandomSplitter(valid_pct, seed),
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        pairs = list(zip(fnames, labels, strict=True))
        return block.dataloaders(pairs, path=path, seed=seed, **settings)

    @classmethod
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
        **settings: Any,
    ) -> BlockLoaders:
        """A dataset of torchvision, of Hugging Face, or any with `__len__` and `__getitem__`.

        Its samples are (image, label) or dicts; `x` and `y` say which elements, if that is not
        clear. The names of the classes are the dataset's own, unless `vocab` gives others; those of
        `valid` are found by their names, whatever their numbers. Without it a share validates.
        Labels that a dataset does not list are read from all samples once. A `cache` keeps images
        as the dataset's own transforms give them.

        >>> pictures = [(np.full((8, 8, 3), i, np.uint8), i % 2) for i in range(10)]
        >>> dls = ImageDataLoaders.from_dataset(pictures, pictures, vocab=["even", "odd"], bs=4)
        >>> dls.one_batch()[0].shape, dls.vocab
        (torch.Size([4, 3, 8, 8]), ['even', 'odd'])
        """
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
        **settings: Any,
    ) -> BlockLoaders:
        """Files whose mask is found by a function of the path; `codes` names the classes."""
        block = DataBlock(
            (ImageBlock(img_cls), MaskBlock(codes)),
            get_y=label_func,
            splitter=RandomSplitter(valid_pct, seed),
            item_tfms=item_tfms,
            batch_tfms=batch_tfms,
        )
        return block.dataloaders(list(fnames), path=path, seed=seed, **settings)


def _first(pair: tuple[Any, Any]) -> Any:
    return pair[0]


def _second(pair: tuple[Any, Any]) -> Any:
    return pair[1]


def _check_files(rows: Sequence[Any], col: int | str, folder: Path) -> None:
    """Every row must name a file of the folder: it is told now, not when it is read."""
    names = column(rows, col)
    for i, name in enumerate(names):
        if name == "" or is_missing(name):
            raise ValueError(
                f"row {i} of the table names no file in column {quoted(col)}: {short(rows[i])}; "
                "fill it, or leave the row out"
            )
    check_names(folder, names)


def _label_block(rows: Sequence[Any], label_col: Any, label_delim: str | None) -> Block:
    if label_delim is not None:
        return MultiCategoryBlock()
    if isinstance(label_col, list | tuple):
        first = [ColReader(col)(rows[0]) for col in label_col]
        numbers = all(_is_number(value) for value in first)
        return RegressionBlock() if numbers else MultiCategoryBlock()
    return _block_of([ColReader(label_col)(row) for row in rows])


def _block_of(labels: list[Any]) -> Block:
    """The block for labels that nobody named: several a row, decimal numbers, or classes."""
    labels = [label for label in labels if not is_missing(label)]
    if labels and isinstance(labels[0], list | tuple):
        parts = list(labels[0])
        return RegressionBlock() if all(map(_is_decimal, parts)) else MultiCategoryBlock()
    return RegressionBlock() if labels and all(map(_is_decimal, labels)) else CategoryBlock()


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) or _is_decimal(value)


def _is_decimal(value: Any) -> bool:
    """A float, or text that reads as one and has a decimal point: `1` names a class."""
    if isinstance(value, float | np.floating):
        return True
    if not isinstance(value, str) or "." not in value:
        return False
    try:
        float(value)
    except ValueError:
        return False
    return True
