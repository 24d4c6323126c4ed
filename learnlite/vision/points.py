"""The last steps of a batch: points from -1 to 1, and no labels of boxes that left the image."""

from collections.abc import Mapping

import torch
from torch import Tensor


class ScalePoints:
    """The last batch transform where there are points: from pixels to -1 … 1 over the image."""

    order = 110.0

    def __call__(
        self, batch: tuple[Tensor, ...], kinds: tuple[str | None, ...], training: bool
    ) -> tuple[Tensor, ...]:
        image = batch[kinds.index("image")]
        size = image.new_tensor([image.shape[-1], image.shape[-2]], dtype=batch[0].dtype)
        return tuple(
            x / size * 2 - 1 if kind == "points" else x
            for x, kind in zip(batch, kinds, strict=True)
        )

    def decode(
        self, batch: tuple[Tensor, ...], kinds: tuple[str | None, ...]
    ) -> tuple[Tensor, ...]:
        image = batch[kinds.index("image")]
        size = image.new_tensor([image.shape[-1], image.shape[-2]], dtype=image.dtype)
        return tuple(
            (x + 1) / 2 * size if kind == "points" else x
            for x, kind in zip(batch, kinds, strict=True)
        )

    def __repr__(self) -> str:
        return "ScalePoints()"


class BlankBoxes:
    """A late batch transform where there are boxes: those without an area become padding.

    A crop may leave boxes outside of the image. They become zeros, and their labels 0, as is what
    fills up a batch. `labels` tells for the place of each element of boxes that of its labels.

    >>> boxes = torch.tensor([[[0.0, 0.0, 5.0, 5.0], [8.0, 2.0, 8.0, 6.0]]])
    >>> BlankBoxes({0: 1})((boxes, torch.tensor([[3, 4]])), ("boxes", None), training=True)
    (tensor([[[0., 0., 5., 5.],
             [0., 0., 0., 0.]]]), tensor([[3, 0]]))
    """

    order = 109.0

    def __init__(self, labels: Mapping[int, int]) -> None:
        self.labels = dict(labels)

    def __call__(
        self, batch: tuple[Tensor, ...], kinds: tuple[str | None, ...], training: bool
    ) -> tuple[Tensor, ...]:
        new = list(batch)
        for i, boxes in enumerate(batch):
            if kinds[i] != "boxes":
                continue
            seen = (boxes[..., 2:] > boxes[..., :2]).all(-1)
            new[i] = torch.where(seen.unsqueeze(-1), boxes, 0)
            place = self.labels.get(i, len(batch))
            if place < len(batch):  # inputs alone have no labels
                new[place] = torch.where(seen, batch[place], 0)
        return tuple(new)

    def __repr__(self) -> str:
        return f"BlankBoxes({self.labels})"
