"""Which block labels want that nobody named: classes, several of them, or numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from learnlite.data.labels import ColReader, is_missing
from learnlite.vision.blocks import Block, CategoryBlock, MultiCategoryBlock, RegressionBlock


def block_of_columns(rows: Sequence[Any], label_col: Any, label_delim: str | None) -> Block:
    """The block for the labels in columns of a table."""
    if label_delim is not None:
        return MultiCategoryBlock()
    if isinstance(label_col, list | tuple):
        first = [ColReader(col)(rows[0]) for col in label_col]
        numbers = all(_is_number(value) for value in first)
        return RegressionBlock() if numbers else MultiCategoryBlock()
    return block_of([ColReader(label_col)(row) for row in rows])


def block_of(labels: list[Any]) -> Block:
    """The block for these labels: several a row, decimal numbers, or classes.

    >>> block_of(["1.5", "2.0"]), block_of(["1", "2"])
    (RegressionBlock(RegressionSetup(c=None)), CategoryBlock(Categorize()))
    """
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
