"""Masks against the classes that `codes` names, before anything is trained."""

from collections.abc import Sequence

import torch
from torch import Tensor

from learnlite.data.wording import named
from learnlite.vision.blocks import MaskBlock
from learnlite.vision.items import BlockItems

_VOID = 255  # stands for pixels without a class in many data sets
_MOST_LOOKED_AT = 1000


def check_masks(items: BlockItems, raw: Sequence[Tensor], changed: Sequence[Tensor]) -> None:
    """Refuse a batch with numbers in its masks that no class has, and name one of the masks.

    Numbers below 0, and 255 where classes stand beside it, may be what a loss leaves out.
    """
    for i, block in enumerate(items.blocks):
        if not isinstance(block, MaskBlock) or not block.codes or i >= len(changed):
            continue
        n = len(block.codes)
        found = changed[i].unique().tolist()
        outside = {code for code in found if code >= n}
        if outside and not (outside == {_VOID} and any(0 < code < n for code in found)):
            values = raw[i].unique()
            _refuse(items, i, block, values, values[values >= n])


def _refuse(items: BlockItems, i: int, block: MaskBlock, values: Tensor, outside: Tensor) -> None:
    numbers = [int(value) for value in values.tolist()]
    name = "a mask"
    for item in items.items[:_MOST_LOOKED_AT]:
        source = items.source(items.getters[i], item)
        codes = block.open(source, None, item).as_subclass(Tensor)
        if torch.isin(codes.long(), outside.cpu().long()).any():
            numbers = [int(value) for value in codes.unique().tolist()]
            is_path = not isinstance(source, Tensor) and hasattr(source, "__fspath__")
            name = f"the mask `{source if is_path or isinstance(source, str) else f'of {item}'}`"
            break
    n = len(block.codes or ())
    way_out = (
        "`batch_tfms=IntToFloatTensor(div_mask=255)` makes them 0 and 1"
        if numbers == [0, 255] and n > 1
        else "name each number, or put others in their place in `get_y`; 255, beside others, and "
        "numbers below 0 may stand for pixels that a loss leaves out by its `ignore_index`"
    )
    raise ValueError(
        f"{name} holds the numbers {named(numbers)}, and `codes` names {n} classes, "
        f"0 to {n - 1}; {way_out}"
    )
